import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants, openSync, writeFileSync, writeSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { close, fionread, open } from '#common/native/index.ts';
import { isAlive, readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

const mib = 1 << 20;

describe.skipIf(process.getuid?.() !== 0)('what flows through the shim', () => {
  let bed: ShimBed;
  let count = 0;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  const fifo = (): string => bed.fifo(`flow-${++count}`);
  async function running(args: readonly string[], stdio: object = {}, terminal = false): Promise<Shim> {
    const shim = await bed.shim(`flow-${++count}`, { args, terminal });
    await shim.create({ ...stdio, terminal });
    await shim.call('Start');
    return shim;
  }

  it('is a gibibyte, byte for byte, for a reader that restarts three times', async () => {
    const pattern = randomBytes(16 * mib);
    writeFileSync(join(bed.dir, 'image/pattern'), pattern);
    const stdout = fifo();
    const shim = await running(['sh', '-c', 'i=0; while [ $i -lt 64 ]; do cat /pattern; i=$((i+1)); done'], { stdout });
    let position = 0;
    for (const until of [256 * mib, 512 * mib, 768 * mib, Number.POSITIVE_INFINITY]) {
      await using reader = await openFile(stdout, 'r');
      position = await compare(reader, pattern, position, until);
    }
    expect(position).toBe(1024 * mib);
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
  });

  it('waits in a full FIFO while nobody reads, and the process with it', async () => {
    const stdout = fifo();
    const shim = await running(['sh', '-c', 'head -c 300000 /dev/zero; exit 4'], { stdout });
    const probe = open(stdout, constants.O_RDONLY | constants.O_NONBLOCK, 0);
    await waitFor('the FIFO to be full', () => fionread(probe) === 65_536);
    expect(await shim.call('State')).toMatchObject({ status: 'RUNNING' });
    const reader = readFifo(stdout);
    close(probe);
    expect((await reader.ended).length).toBe(300_000);
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 4 });
  });

  it('holds up neither the end of a process whose reader never comes back, nor that of the shim', async () => {
    const stdout = fifo();
    const shim = await running(['sh', '-c', 'while :; do echo more; done'], { stdout });
    const reader = open(stdout, constants.O_RDONLY | constants.O_NONBLOCK, 0);
    await waitFor('a first line', () => fionread(reader) > 0);
    close(reader);
    await shim.call('Kill', { signal: 9 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 137 });
    await shim.call('Delete');
    const { pid } = shim;
    await shim.call('Shutdown');
    await waitFor('the shim to end', () => !isAlive(pid));
  });

  it('comes from one writer of stdin after another, until it is closed', async () => {
    const [stdin, stdout] = [fifo(), fifo()];
    const out = readFifo(stdout);
    const shim = await running(['cat'], { stdin, stdout });
    for (const word of ['first ', 'second ', 'third']) {
      const writer = openSync(stdin, constants.O_WRONLY);
      writeSync(writer, word);
      close(writer);
      await waitFor('the echo', () => out.text().endsWith(word));
    }
    await shim.call('CloseIO', { stdin: true });
    expect(await out.ended).toBe('first second third');
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
  });

  it('goes on from a process that has closed its stdin, and to one that has closed its stdout', async () => {
    const [stdin, stdout] = [fifo(), fifo()];
    const out = readFifo(stdout);
    await running(['sh', '-c', 'exec 0<&-; echo deaf; exec 1>&-; sleep 1000'], { stdin, stdout });
    expect(await out.ended).toBe('deaf\n');
    const question = fifo();
    const mute = await running(['sh', '-c', 'exec 1>&- 2>&-; read line; exit "$line"'], { stdin: question });
    const writer = openSync(question, constants.O_WRONLY);
    writeSync(writer, '7\n');
    close(writer);
    expect(await mute.call('Wait')).toMatchObject({ exitStatus: 7 });
  });

  it('keeps its order through a terminal that is resized all the while', async () => {
    const stdout = fifo();
    const out = readFifo(stdout);
    const shim = await running(['sh', '-c', 'while :; do stty size; done'], { stdout }, true);
    for (let columns = 20; columns < 60; columns++) {
      await shim.call('ResizePty', { width: columns, height: 10 });
      if (columns % 10 === 0) await waitFor('the new size', () => out.text().includes(`10 ${columns}\r\n`));
    }
    await waitFor('the last size', () => out.text().includes('10 59\r\n'));
    await shim.call('Kill', { signal: 9 });
    const sizes = (await out.ended).split('\r\n').slice(0, -1);
    const widths = sizes.map((line) => Number(/^\d+ (\d+)$/.exec(line)?.[1]));
    expect(widths).toEqual([...widths].sort((a, b) => a - b));
  });

  it('does not tie an exec to a grandchild that keeps its stdout', async () => {
    const stdout = fifo();
    const out = readFifo(stdout);
    const shim = await running(['sleep', '1000']);
    await shim.exec('parent', ['sh', '-c', 'echo here; sleep 1000 & exit 5'], { stdout });
    expect(await shim.call('Wait', { execId: 'parent' })).toMatchObject({ exitStatus: 5 });
    expect(await shim.call('Delete', { execId: 'parent' })).toMatchObject({ exitStatus: 5 });
    await waitFor('the output', () => out.text() === 'here\n');
    await shim.call('Kill', { signal: 9 });
    await out.ended;
  });

  it('tells every deadly signal as 128 + n', async () => {
    const shim = await running(['sleep', '1000']);
    const signals = [1, 2, 3, 4, 6, 8, 9, 10, 11, 13, 14, 15, 34];
    for (const signal of signals) await shim.exec(`by-${signal}`, ['sleep', '1000']);
    for (const signal of signals) await shim.call('Kill', { execId: `by-${signal}`, signal });
    for (const signal of signals) {
      expect(await shim.call('Wait', { execId: `by-${signal}` })).toMatchObject({ exitStatus: 128 + signal });
    }
  });

  it('never reaches a process that got the pid of one that has ended', async () => {
    const shim = await running(['sleep', '1000']);
    const execPid = await shim.exec('gone', ['true']);
    await shim.call('Wait', { execId: 'gone' });
    using innocent = await processWithPid(execPid);
    await expect(shim.call('Kill', { execId: 'gone', signal: 9 })).rejects.toMatchObject({ code: 'not_found' });
    const { pid } = await shim.call('State');
    await shim.call('Kill', { signal: 9 });
    await shim.call('Wait');
    using another = await processWithPid(pid as number);
    for (const all of [false, true]) {
      await expect(shim.call('Kill', { signal: 9, all })).rejects.toMatchObject({ code: 'not_found' });
    }
    await shim.call('Delete');
    expect([isAlive(innocent.pid), isAlive(another.pid)]).toEqual([true, true]);
  });
});

/** Reads on from `position` of the repeated pattern until there is no more, or at least `until`. */
async function compare(reader: FileHandle, pattern: Buffer, start: number, until: number): Promise<number> {
  const buffer = Buffer.alloc(65_536);
  let position = start;
  while (position < until) {
    const { bytesRead } = await reader.read(buffer, 0, buffer.length);
    if (bytesRead === 0) break;
    for (let offset = 0; offset < bytesRead; ) {
      const from = position % pattern.length;
      const length = Math.min(bytesRead - offset, pattern.length - from);
      if (pattern.compare(buffer, offset, offset + length, from, from + length) !== 0) {
        throw new Error(`not the byte that was written, at ${position} or up to ${length} further on`);
      }
      offset += length;
      position += length;
    }
  }
  return position;
}

/** A process that has a certain pid, which is free: the kernel gives out the one after the last (proc(5), ns_last_pid). */
async function processWithPid(pid: number): Promise<Disposable & { readonly pid: number }> {
  return await waitFor(`a process with pid ${pid}`, () => {
    writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    if (child.pid === pid) return { pid, [Symbol.dispose]: () => child.kill('SIGKILL') };
    child.kill('SIGKILL');
    return undefined;
  });
}
