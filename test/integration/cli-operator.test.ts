import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BerthCommand } from '../support/berth-command.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Registry } from '../support/registry.ts';
import { waitFor } from '../support/wait-for.ts';

const image = busyboxImage({ files: [{ name: 'etc/motd', data: 'hello\n' }] });
const name = 'docker.io/library/tool:1';

const suite = useBerthd();
const command = new BerthCommand(suite);
const { run: berth, text, json } = command;

beforeAll(async () => {
  writeFileSync(join(suite.dir, 'image.tar'), ociArchive(image, name));
  await text('images', 'import', join(suite.dir, 'image.tar'));
});

async function snapshotKinds(): Promise<string[]> {
  return ((await json('snapshots', 'list')) as { kind: string }[]).map(({ kind }) => kind).sort();
}

describe('images', () => {
  let registry: Registry;

  beforeAll(async () => {
    registry = await Registry.start(suite.dir);
  });

  afterAll(() => registry?.[Symbol.asyncDispose]());

  test('are pushed under another name, and pulled from there', async () => {
    const reference = `${registry.host}/test/pushed:1`;
    expect(await text('images', 'push', 'tool:1', reference)).toBe(`pushed ${reference} ${image.manifest.digest}\n`);
    expect(await text('images', 'pull', reference)).toBe(`pulled ${reference} ${image.manifest.digest}\n`);
    expect(await json('images', 'push', reference)).toMatchObject({ pushed: reference, digest: image.manifest.digest });
    await text('images', 'remove', reference);
  });

  test('show a bar per layer while they are pushed from a terminal', async () => {
    const line = [...command.words, 'images', 'push', 'tool:1', `${registry.host}/test/drawn:1`].join(' ');
    const child = spawn('script', ['-qec', `stty cols 160; ${line}`, '/dev/null'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const output = (await Array.fromAsync(child.stdout, String)).join('');
    expect(output).toContain(`Push ${registry.host}/test/drawn:1`);
    for (const { digest } of image.layers) expect(output).toContain(digest.slice(0, 19));
    expect(output).toContain('pushed ');
  });

  test('that are not there are not pushed', async () => {
    const { code, stderr } = await berth(['images', 'push', 'nothing', `${registry.host}/test/nothing`]);
    expect(code).toBe(1);
    expect(stderr).toContain('berth images list');
  });
});

test('images are shown in a directory, and changes in it go with the unmount', async () => {
  const target = join(suite.dir, 'mounted');
  const before = await snapshotKinds();
  expect(await text('images', 'mount', 'tool:1', target)).toBe(`mounted ${name} on ${target}\n`);
  expect(readFileSync(join(target, 'etc/motd'), 'utf8')).toBe('hello\n');
  expect(() => writeFileSync(join(target, 'new'), '')).toThrow(/EROFS/);
  expect(await text('images', 'unmount', target)).toBe(`unmounted ${target}\n`);
  expect(readdirSync(target)).toEqual([]);

  await text('images', 'mount', '--rw', 'tool:1', target);
  writeFileSync(join(target, 'etc/motd'), 'other');
  await text('images', 'unmount', target);
  expect(await snapshotKinds()).toEqual(before);
  const { code, stderr } = await berth(['images', 'unmount', target]);
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: `berth: no image of this namespace is mounted on ${target}\n`,
  });
});

test('snapshots tell how they are mounted', async () => {
  const [committed] = (await json('snapshots', 'list')) as { key: string }[];
  const { snapshots } = suite.clients;
  const labels = { 'containerd.io/gc.root': 'x' };
  await snapshots.prepare({ snapshotter: 'overlayfs', key: 'own', parent: committed?.key ?? '', labels });
  const shown = await text('snapshots', 'mounts', 'own', '--target', '/mnt/x y');
  expect(shown).toMatch(/^mount -t overlay overlay '\/mnt\/x y' -o \S*upperdir=\S+\n$/);
  expect(await json('snapshots', 'mounts', 'own')).toMatchObject([{ type: 'overlay' }]);
  await snapshots.remove({ snapshotter: 'overlayfs', key: 'own' });
  expect(await berth(['snapshots', 'mounts', 'own'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('berth snapshots list'),
  });
});

test('a collection is run at once, and what it freed is told', async () => {
  const { content } = suite.clients;
  const data = Buffer.from('nobody needs this');
  // The daemon may come to collect by itself just before.
  await waitFor('the blob to be freed by us', async () => {
    const stream = content.write({});
    await stream.send({ action: 'COMMIT', ref: 'rubbish', data });
    stream.end();
    await Array.fromAsync(stream);
    const freed = (await json('gc')) as { blobs: { count: number; bytes: number } };
    expect(freed).toMatchObject({ snapshots: { count: 0, bytes: 0 } });
    return freed.blobs.count === 1 && freed.blobs.bytes === data.length;
  });
  expect(await text('gc')).toBe('freed 0 blobs and 0 snapshots, 0 B\n');
});

describe('tasks', () => {
  const end = async (id: string) => {
    await text('tasks', 'remove', '--force', id);
    await text('containers', 'remove', id);
  };

  test('in the background write into a log file, which is shown and followed', async () => {
    const log = join(suite.dir, 'task.log');
    const script = 'echo one; echo two >&2; sleep 1; echo three';
    await text('tasks', 'run', '--detach', '--log', log, 'tool:1', 'logging', '--', 'sh', '-c', script);
    await waitFor('output', () => readFileSync(log, 'utf8').includes('two'));
    expect(await text('tasks', 'logs', 'logging')).toMatch(/^one\ntwo\n/);
    expect(await text('tasks', 'logs', '--follow', 'logging')).toBe('one\ntwo\nthree\n');
    expect(await berth(['tasks', 'attach', 'logging'])).toMatchObject({ code: 1 });
    await end('logging');
  });

  test('are paused, resumed and measured', async () => {
    await text('tasks', 'run', '--detach', 'tool:1', 'measured', '--', 'sleep', '600');
    expect(await text('tasks', 'pause', 'measured')).toBe('paused measured\n');
    expect(await json('tasks', 'list')).toMatchObject([{ id: 'measured', status: 'paused' }]);
    expect(await text('tasks', 'resume', 'measured')).toBe('resumed measured\n');
    const [metrics] = (await json('tasks', 'metrics', 'measured')) as Record<string, unknown>[];
    expect(metrics).toMatchObject({ id: 'measured', memory: expect.any(Number), processes: 1 });
    expect(await text('tasks', 'metrics')).toMatch(/^ID .*PROCESSES\nmeasured +\d+\.\d\ds +\S+ \w+ .* 1\n$/);
    await end('measured');
  });

  test('without output have none to show, and unknown ones are named', async () => {
    await text('tasks', 'run', '--detach', 'tool:1', 'silent', '--', 'sleep', '600');
    for (const verb of ['logs', 'attach']) {
      const { code, stderr } = await berth(['tasks', verb, 'silent']);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('no output') });
      const unknown = await berth(['tasks', verb, 'unknown']);
      expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('berth tasks list') });
    }
    expect(await berth(['tasks', 'metrics', 'unknown'])).toMatchObject({ code: 1 });
    await end('silent');
  });

  test('with a terminal are left by keys and joined again', async () => {
    const first = new Terminal([31, 97], 'tasks', 'run', '--tty', 'tool:1', 'left', '--', 'sh');
    first.type('echo is-$((1+1))-there\r');
    await first.shows('is-2-there');
    first.type('\x10\x11');
    await first.shows('detached from left');
    expect(await first.ended).toBe(0);
    expect(await json('tasks', 'list')).toMatchObject([{ id: 'left', status: 'running' }]);
    expect(await berth(['tasks', 'attach', 'left'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('needs a terminal'),
    });

    const second = new Terminal([40, 120], 'tasks', 'attach', '--detach-keys', 'ctrl-x', 'left');
    second.type('until stty size | grep "40 120"; do sleep 0.1; done; exit 4\r');
    await second.shows('40 120\r');
    expect(await second.ended).toBe(4);
    expect(readdirSync(suite.dir).filter((entry) => entry.startsWith('berth-io-'))).toEqual([]);
    await end('left');
  });
});

/** `berth` on a terminal of so many rows and columns. */
class Terminal {
  readonly #child: ChildProcess;
  readonly ended: Promise<number>;
  #output = '';

  constructor([rows, columns]: readonly [number, number], ...args: string[]) {
    const line = [...command.words, ...args].join(' ');
    this.#child = spawn('script', ['-qefc', `stty rows ${rows} cols ${columns}; ${line}`, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: command.env,
    });
    this.#child.stdout?.on('data', (data) => {
      this.#output += data;
    });
    this.ended = once(this.#child, 'exit').then(([code]) => Number(code));
  }

  /** What is typed before anybody reads it is kept by the terminal. */
  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  async shows(text: string): Promise<void> {
    await waitFor(`"${text}"`, () => this.#output.includes(text), 60_000).catch((error: unknown) => {
      throw new Error(`the terminal shows ${JSON.stringify(this.#output)}`, { cause: error });
    });
  }
}
