import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseEntry } from '../../apps/cri-shim/logs/cri-lines.ts';
import { patient, useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const maxLineSize = 4096;
const suite = useCri(() => ({ container_logs: { max_line_size: maxLineSize } }));
let clean: LeakSnapshot;

beforeAll(async () => {
  await suite.clean();
  await waitFor('the first pod to be gone', () => leakSnapshot(suite.scope).fifos.length === 0);
  clean = leakSnapshot(suite.scope);
});

interface Pod {
  readonly logDirectory: string;
}

/** What a stream wrote, over all files of a container's log, oldest first: `c.log.1`, `c.log.2`, …, `c.log`. */
function written(pod: Pod, name: string, stream: string): string {
  const number = (file: string) => Number(file.slice(`${name}.log.`.length) || Number.POSITIVE_INFINITY);
  const files = readdirSync(pod.logDirectory).filter((file) => file.startsWith(`${name}.log`));
  files.sort((a, b) => number(a) - number(b));
  const text = files.map((file) => readFileSync(join(pod.logDirectory, file), 'latin1')).join('');
  const entries = text.split('\n').slice(0, -1).map(parseEntry);
  return entries
    .map((entry) => {
      if (entry === undefined) throw new Error('the log holds a line that is no entry');
      return entry.stream === stream ? `${entry.content}${entry.full ? '\n' : ''}` : '';
    })
    .join('');
}

/** Numbered lines on both streams, every hundredth longer than a log entry, until there is a file /stop. */
const flood = `
  lines() { awk 'BEGIN {
    filler = sprintf("%20000s", ""); gsub(" ", "x", filler)
    for (i = 0; i % 250 || system("usleep 20000; test -e /stop"); i++) {
      print i, i % 100 ? substr(filler, 1, i % 90) : filler
      if (i % 250 == 249) fflush()
    }
    print "end"
  }'; }
  lines & lines >&2; wait`;

/** Answers the number of numbered lines. */
function expectFlood(text: string): number {
  const filler = 'x'.repeat(20_000);
  const lines = text.split('\n');
  expect(lines.slice(-2)).toEqual(['end', '']);
  const wrong = lines
    .slice(0, -2)
    .findIndex((line, i) => line !== `${i} ${i % 100 ? filler.slice(0, i % 90) : filler}`);
  expect(wrong).toBe(-1);
  return lines.length - 2;
}

describe.each(['berth-cri', 'both daemons'])('while a container floods both streams and %s is killed', (victim) => {
  test('every line stands in the logs once and in order, over several rotations', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const containerId = await suite.start(id, pod, suite.containerConfig('c', flood));
    const log = join(pod.logDirectory, 'c.log');
    for (let round = 1; round <= 5; round += 1) {
      await sleep(60 * round);
      renameSync(log, `${log}.${round}`);
      if (round % 2 === 0) await runtime.reopenContainerLog({ containerId }, patient);
      await Promise.all([
        suite.berth.cri.restartAfterKill9(),
        ...(victim === 'both daemons' ? [suite.berth.berthd.daemon.restartAfterKill9()] : []),
      ]);
    }
    await suite.exec(containerId, 'touch', '/stop');
    expect(await suite.exited(containerId)).toMatchObject({ exitCode: 0 });
    for (const stream of ['stdout', 'stderr']) expect(expectFlood(written(pod, 'c', stream))).toBeGreaterThan(1000);
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});

test('long lines are cut into parts of the size that is configured', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const script = `awk 'BEGIN { line = sprintf("%10000s", ""); gsub(" ", "x", line); print line }'`;
  await suite.exited(await suite.start(id, pod, suite.containerConfig('long', script)));
  await suite.logged(pod, 'long', 'x'.repeat(10_000));
  const entries = readFileSync(join(pod.logDirectory, 'long.log'), 'latin1').split('\n').slice(0, -1).map(parseEntry);
  expect(entries.map((entry) => [entry?.content.length, entry?.full])).toEqual([
    [maxLineSize, false],
    [maxLineSize, false],
    [10_000 - 2 * maxLineSize, true],
  ]);
  await suite.removePod(id);
});

test('all output of a short container is in its log once it counts as exited', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  for (let n = 0; n < 5; n += 1) {
    const name = `short-${n}`;
    const containerId = await suite.start(id, pod, suite.containerConfig(name, 'seq 1 20000; printf "the end"'));
    await suite.exited(containerId);
    const lines = Array.from({ length: 20_000 }, (_, i) => `${i + 1}\n`).join('');
    expect(written(pod, name, 'stdout') === `${lines}the end`, name).toBe(true);
  }
  await suite.removePod(id);
  await expectNoLeaks(suite.scope, clean);
});

test('a terminal logs one stream, without the carriage returns that it adds', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const config = suite.containerConfig('t', 'tty; echo out; echo err >&2; seq 1 3000', { tty: true });
  const containerId = await suite.start(id, pod, config);
  await suite.exited(containerId);
  const lines = written(pod, 't', 'stdout').split('\n');
  expect(lines.slice(0, 3)).toEqual(['/dev/pts/0', 'out', 'err']);
  expect(lines.slice(3)).toEqual([...Array.from({ length: 3000 }, (_, i) => String(i + 1)), '']);
  expect(written(pod, 't', 'stderr')).toBe('');
  await suite.removePod(id);
});

test('a container without a log path runs on, whatever it writes', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const config = suite.containerConfig('quiet', 'seq 1 300000; exit 9', { logPath: '' });
  const containerId = await suite.start(id, pod, config);
  expect(await suite.exited(containerId)).toMatchObject({ exitCode: 9, logPath: '' });
  expect(readdirSync(pod.logDirectory)).toEqual([]);
  await suite.removePod(id);
});

test('rotation is a barrier between what was written before and after it', async () => {
  const { runtime } = suite.cri;
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const containerId = await suite.start(
    id,
    pod,
    suite.containerConfig('b', 'mkfifo /in; while :; do read l </in && echo $l; done'),
  );
  await waitFor('the container to listen', async () => (await suite.exec(containerId, 'ls', '/')).includes('in\n'));
  for (let n = 1; n <= 5; n += 1) {
    await suite.exec(containerId, 'sh', '-c', `echo word-${n} >/in`);
    await suite.logged(pod, 'b', `word-${n}`);
    renameSync(join(pod.logDirectory, 'b.log'), join(pod.logDirectory, `word-${n}.log`));
    await runtime.reopenContainerLog({ containerId });
    expect(suite.log(pod, `word-${n}`)).toEqual([`word-${n}`]);
    expect(suite.log(pod, 'b')).toEqual([]);
  }
  await suite.removePod(id);
});
