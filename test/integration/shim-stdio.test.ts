import { constants, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { close, fionread, open } from '#common/native/index.ts';
import { readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

/**
 * What is left in a FIFO whose writers have all gone. A reader that comes after them is told of no hang-up by poll(2),
 * so it reads until there is nothing.
 */
function readLate(path: string): string {
  const fd = open(path, constants.O_RDONLY | constants.O_NONBLOCK, 0);
  const buffer = Buffer.alloc(65_536);
  let text = '';
  try {
    for (let length = readSync(fd, buffer); length > 0; length = readSync(fd, buffer)) {
      text += buffer.toString('utf8', 0, length);
    }
  } finally {
    close(fd);
  }
  return text;
}

describe.skipIf(process.getuid?.() !== 0)("a process's stdio through the shim", () => {
  let bed: ShimBed;
  let count = 0;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  function fifos(): { stdin: string; stdout: string; stderr: string } {
    const n = ++count;
    return { stdin: bed.fifo(`${n}-in`), stdout: bed.fifo(`${n}-out`), stderr: bed.fifo(`${n}-err`) };
  }
  async function running(args: readonly string[], stdio: object, terminal = false): Promise<Shim> {
    const shim = await bed.shim(`io-${++count}`, { args, terminal });
    await shim.create({ ...stdio, terminal });
    await shim.call('Start');
    return shim;
  }

  it('keeps stdout and stderr apart', async () => {
    const { stdout, stderr } = fifos();
    const out = readFifo(stdout);
    const err = readFifo(stderr);
    await running(['sh', '-c', 'echo one; echo two >&2'], { stdout, stderr });
    expect(await out.ended).toBe('one\n');
    expect(await err.ended).toBe('two\n');
  });

  it('passes stdin on, to its end after CloseIO', async () => {
    const { stdin, stdout } = fifos();
    const out = readFifo(stdout);
    const shim = await running(['cat'], { stdin, stdout });
    const input = openSync(stdin, constants.O_WRONLY);
    writeSync(input, 'to and fro\n');
    close(input);
    await waitFor('the echo', () => out.text() === 'to and fro\n');
    expect(await shim.call('State')).toMatchObject({ status: 'RUNNING' });
    await shim.call('CloseIO', { stdin: true });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
    expect(await out.ended).toBe('to and fro\n');
  });

  it('remembers a CloseIO that comes before the exec is there', async () => {
    const shim = await running(['sleep', '100'], {});
    const { stdin, stdout } = fifos();
    const out = readFifo(stdout);
    await shim.call('CloseIO', { stdin: true, execId: 'none' }).catch(() => undefined);
    const started = shim.exec('early', ['cat'], { stdin, stdout });
    await shim.call('CloseIO', { stdin: true, execId: 'early' }).catch(() => undefined);
    await started;
    await shim.call('CloseIO', { stdin: true, execId: 'early' });
    expect(await shim.call('Wait', { execId: 'early' })).toMatchObject({ exitStatus: 0 });
    expect(await out.ended).toBe('');
  });

  it('keeps what nobody has read yet until Delete', async () => {
    const { stdout } = fifos();
    const shim = await running(['echo', 'late reader'], { stdout });
    await shim.call('Wait');
    expect(readLate(stdout)).toBe('late reader\n');
    await shim.call('Delete');
  });

  it("survives a reader's restart without a broken pipe", async () => {
    const { stdout } = fifos();
    const first = open(stdout, constants.O_RDONLY | constants.O_NONBLOCK, 0);
    const shim = await running(['sh', '-c', 'echo 1; sleep 0.3; echo 2; sleep 0.3; echo 3'], { stdout });
    await waitFor('the first line', () => fionread(first) > 0);
    // No more than that: the second may have come, too.
    readSync(first, Buffer.alloc('1\n'.length));
    close(first);
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
    expect(readLate(stdout)).toBe('2\n3\n');
  });

  it('appends to a file', async () => {
    const path = join(bed.dir, 'output.txt');
    writeFileSync(path, 'before\n');
    const shim = await running(['echo', 'after'], { stdout: `file://${path}` });
    await shim.call('Wait');
    expect(readFileSync(path, 'utf8')).toBe('before\nafter\n');
  });

  it('says which FIFO is missing and which scheme it does not know', async () => {
    const shim = await bed.shim('io-missing', { args: ['true'] });
    await expect(shim.create({ stdout: '/nonexistent/fifo' })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('/nonexistent/fifo') as string,
    });
    await expect(shim.create({ stdout: 'https://example.com/' })).rejects.toMatchObject({ code: 'unimplemented' });
  });

  it('copies a terminal, resizes it and drains it at the end', async () => {
    const { stdin, stdout } = fifos();
    const out = readFifo(stdout);
    const shim = await running(['sh'], { stdin, stdout }, true);
    await shim.call('ResizePty', { width: 123, height: 45 });
    const input = openSync(stdin, constants.O_WRONLY);
    writeSync(input, 'stty size; tty; head -c 100000 /dev/zero | wc -c; exit 6\n');
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 6 });
    close(input);
    const text = await out.ended;
    expect(text).toContain('45 123');
    expect(text).toContain('/dev/pts/0');
    expect(text).toContain('100000');
    await shim.call('Delete');
  });

  it('gives an exec a terminal, and lets Delete end a copy that nobody reads', async () => {
    const shim = await running(['sleep', '100'], {});
    const { stdout } = fifos();
    await shim.exec('tty', ['sh', '-c', 'tty; exit 2'], { stdout, terminal: true });
    expect(await shim.call('Wait', { execId: 'tty' })).toMatchObject({ exitStatus: 2 });
    expect(await waitFor('the output', () => readLate(stdout) || undefined)).toBe('/dev/pts/0\r\n');
    const flood = fifos();
    await shim.exec('flood', ['sh', '-c', 'yes | head -c 300000'], { stdout: flood.stdout, terminal: true });
    await shim.call('Kill', { execId: 'flood', signal: 9 });
    await shim.call('Wait', { execId: 'flood' });
    await shim.call('Delete', { execId: 'flood' });
  });
});
