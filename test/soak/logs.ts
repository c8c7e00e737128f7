/**
 * `npm run soak -- logs`: 20 containers write lines of mixed lengths, while the logs are rotated ten times as the
 * kubelet does it, and berth-cri is killed three times. In the end each container's files hold every line once, in
 * order. `--rounds` is the number of lines, 1,000,000 unless it is given.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import { forEachAtOnce } from '../support/at-once.ts';
import { patient } from '../support/cri-suite.ts';
import { Random } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { type SoakBed, type StandingPod, soakBed } from './cri-bed.ts';
import type { SoakOptions } from './main.ts';

const containers = 20;
const rotations = 10;
const kills = 3;
const entry = /^\d{4}-\d\d-\d\dT\S+ stdout ([PF]) (.*)$/;

export async function logsSoak({ seed, rounds = 1_000_000, handler, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed(handler);
  const lines = Math.ceil(rounds / containers);
  const random = new Random(seed);
  const text = Array.from({ length: lines }, (_, n) => lineOf(n, random));
  const folder = join(bed.scope.dir, 'lines');
  mkdirSync(folder);
  const part = Math.ceil(lines / (rotations + 1));
  for (let n = 0; n <= rotations; n++) {
    writeFileSync(
      join(folder, `part-${n}`),
      text
        .slice(n * part, (n + 1) * part)
        .map((line) => `${line}\n`)
        .join(''),
    );
  }
  // Each part is written while the logs are rotated, as fast as it is taken.
  const writePart = 'until [ -e /lines/go-$n ]; do usleep 10000; done; cat /lines/part-$n';
  const script = `n=0; while [ $n -le ${rotations} ]; do ${writePart}; n=$((n+1)); done; sleep 1000000`;
  const command = ['sh', '-c', script];
  const mounts = [{ containerPath: '/lines', hostPath: folder, readonly: true }];
  const pods = await forEachAtOnce(containers, 4, (n) => bed.start(`log-${n}`, { command, mounts }));

  const killAfter = Array.from({ length: kills }, (_, k) => Math.floor(((k + 1) * rotations) / (kills + 1)));
  for (let rotation = 1; rotation <= rotations; rotation++) {
    writeFileSync(join(folder, `go-${rotation - 1}`), '');
    await sleep(random.int(300));
    for (const pod of pods) renameSync(pod.log, `${pod.log}.${rotation}`);
    if (killAfter.includes(rotation)) {
      // Amid rotation: half of the containers have not been told of it.
      await Promise.all(pods.slice(0, containers / 2).map((pod) => reopen(bed, pod)));
      await bed.berth.cri.kill9();
      tell(
        `berth-cri killed amid rotation ${rotation}, with ${linesIn(pods)} of ${lines * containers} lines in the logs`,
      );
      await bed.berth.cri.start();
    }
    await Promise.all(pods.map((pod) => reopen(bed, pod)));
  }
  writeFileSync(join(folder, `go-${rotations}`), '');
  const last = `${text[lines - 1]}`;
  for (const pod of pods) {
    await waitFor(`the last line of ${pod.log}`, () => wholeLog(pod).at(-1) === last, 120_000);
    compare(pod, wholeLog(pod), text);
  }
  tell(`${lines} lines of each of ${containers} containers, each once and in order`);
  await bed.removeAll();
}

/** Mostly short, now and then empty but for the number, now and then in several parts. */
function lineOf(n: number, random: Random): string {
  const kind = random.next();
  const length = kind < 0.1 ? 0 : kind < 0.995 ? random.int(150) : 10_000 + random.int(40_000);
  return `${n} ${'x'.repeat(length)}`;
}

/** As the kubelet does, again while the daemon isn't there. */
async function reopen(bed: SoakBed, { containerId }: StandingPod): Promise<void> {
  for (;;) {
    try {
      await bed.cri.runtime.reopenContainerLog({ containerId }, patient);
      return;
    } catch (error) {
      if (!isCode(error, 'unavailable')) throw error;
      await sleep(100);
    }
  }
}

function linesIn(pods: readonly StandingPod[]): number {
  return pods.reduce((sum, pod) => sum + wholeLog(pod).length, 0);
}

function filesOf({ log }: StandingPod): string[] {
  const rotated = Array.from({ length: rotations }, (_, index) => `${log}.${index + 1}`);
  return [...rotated, log].filter((path) => existsSync(path));
}

/** All lines of all files in the order of their rotation, with their parts put together. */
function wholeLog(pod: StandingPod): string[] {
  const found: string[] = [];
  let pending = '';
  for (const path of filesOf(pod)) {
    const lines = readFileSync(path, 'latin1').split('\n');
    // A line that is being written.
    lines.pop();
    for (const line of lines) {
      const match = entry.exec(line);
      if (match === null) throw new Error(`${path}: not a log entry: ${line.slice(0, 200)}`);
      pending += match[2];
      if (match[1] === 'P') continue;
      found.push(pending);
      pending = '';
    }
  }
  return found;
}

function compare({ log }: StandingPod, found: readonly string[], expected: readonly string[]): void {
  const at = expected.findIndex((line, index) => found[index] !== line);
  if (at >= 0) {
    throw new Error(`${log}: line ${at} is ${String(found[at]).slice(0, 80)}, not ${expected[at]?.slice(0, 80)}`);
  }
  if (found.length > expected.length) throw new Error(`${log}: ${found.length - expected.length} lines too many`);
}
