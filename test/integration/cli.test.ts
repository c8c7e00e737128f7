import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { criClients } from '../support/cri-clients.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { waitFor } from '../support/wait-for.ts';

const main = new URL('../../apps/cli/main.ts', import.meta.url).pathname;

let directory: string;

beforeEach(() => {
  directory = scratchDir();
});

afterEach(() => removeScratch(directory));

/** The operator's tool as a process, with what it has written so far. A failed test doesn't leave it running. */
class Tool implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown[]>;
  output = '';

  constructor(...args: string[]) {
    // The demo makes its directory below TMPDIR: so it can be looked at.
    this.child = spawn(process.execPath, [main, ...args], { env: { ...process.env, TMPDIR: directory } });
    this.ended = once(this.child, 'exit');
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (data: Buffer) => {
        this.output += data.toString();
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}

function bridges(): string[] {
  return readdirSync('/sys/class/net').filter((name) => /^berth-\w{6}$/.test(name));
}

describe('berth demo', () => {
  test('runs a pod from start to end and leaves the machine as it was', async () => {
    const before = bridges();
    await using tool = new Tool('demo');
    const [code] = await tool.ended;
    expect(code, tool.output).toBe(0);
    expect(tool.output).toContain('"hello from pod demo"');
    expect(tool.output).toContain('stdout F client: read "hello from pod demo"');
    expect(tool.output).toContain('web exited with 0, client exited with 0');
    expect(tool.output).toContain('The machine is as it was before.');
    expect(readdirSync(directory)).toEqual([]);
    expect(bridges()).toEqual(before);
  });

  test.each(['Start berthd', 'Run a pod sandbox', 'Create and start container "client": running'])(
    'cleans up when Ctrl-C comes at "%s"',
    async (moment) => {
      const before = bridges();
      await using tool = new Tool('demo');
      await waitFor(moment, () => tool.output.includes(moment), 60_000);
      tool.child.kill('SIGINT');
      const [code] = await tool.ended;
      expect(code, tool.output).toBe(130);
      expect(readdirSync(directory)).toEqual([]);
      expect(bridges()).toEqual(before);
    },
  );
});

describe('berth up', () => {
  test('keeps everything below its directory, prints both sockets and ends on SIGTERM', async () => {
    const dir = join(directory, 'up');
    await using tool = new Tool('up', '--dir', dir);
    await waitFor('the sockets', () => tool.output.includes(`unix://${dir}/cri.sock`), 60_000);
    expect(tool.output).toContain(`unix://${dir}/berthd.sock`);
    using clients = criClients(join(dir, 'cri.sock'));
    await expect(clients.runtime.version({})).resolves.toMatchObject({ runtimeName: 'berth' });
    tool.child.kill('SIGTERM');
    const [code] = await tool.ended;
    expect(code, tool.output).toBe(0);
    expect([existsSync(join(dir, 'cri.sock')), existsSync(join(dir, 'logs/berth-cri.log'))]).toEqual([false, true]);
  });

  test('refuses a directory that another one is using, and leaves that one alone', async () => {
    const dir = join(directory, 'up');
    await using first = new Tool('up', '--dir', dir);
    await waitFor('the sockets', () => first.output.includes('cri.sock'), 60_000);
    await using second = new Tool('up', '--dir', dir);
    const [code] = await second.ended;
    expect(code).toBe(1);
    expect(second.output).toContain(`another process serves ${dir}/berthd.sock`);
    using clients = criClients(join(dir, 'cri.sock'));
    await clients.runtime.version({});
  });

  test('fails with the end of the log when a daemon cannot start', async () => {
    const dir = join(directory, 'up');
    mkdirSync(dir);
    writeFileSync(join(dir, 'root'), 'in the way');
    await using tool = new Tool('up', '--dir', dir);
    const [code] = await tool.ended;
    expect(code).toBe(1);
    expect(tool.output).toMatch(/berthd ended with 1 .*logs\/berthd\.log[\s\S]*up\/root/);
  });
});

test('an unknown flag is refused', async () => {
  await using tool = new Tool('up', '--dri', directory);
  expect(await tool.ended).toEqual([2, null]);
  expect(tool.output).toContain('--dir');
});
