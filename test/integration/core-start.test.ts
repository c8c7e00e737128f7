import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '#common/native/index.ts';
import { startBerthd } from '../support/berthd.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { waitFor } from '../support/wait-for.ts';

const main = new URL('../../apps/core/main.ts', import.meta.url).pathname;
const MS_RDONLY = 1;

let dir: string;
beforeEach(() => {
  dir = scratchDir();
});
afterEach(() => removeScratch(dir));

/** Runs berthd below the scratch directory until it gives up. */
function run(over: Readonly<Record<string, string>> = {}) {
  const flags = { root: join(dir, 'root'), state: join(dir, 'state'), address: join(dir, 'berthd.sock'), ...over };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', timeout: 20_000 });
}

function mountTmpfs(target: string, flags: number, data: string | null = null): void {
  mkdirSync(target, { recursive: true });
  native.mount('tmpfs', target, 'tmpfs', flags, data);
}

describe('berthd', () => {
  it('refuses a root or state directory that another berthd uses, and leaves that one alone', async () => {
    const { daemon, root, state, clients } = await startBerthd({ dir });
    const second = join(dir, 'second');
    expect(run({ root, state: second, address: `${second}/s` })).toMatchObject({ status: 1, stdout: '' });
    expect(run({ root, state: second, address: `${second}/s` }).stderr).toContain(`root directory ${root} is in use`);
    expect(run({ root: second, state, address: `${second}/s` }).stderr).toContain(`state directory ${state} is in use`);
    expect(run({ root: second, state: `${second}/state` }).stderr).toContain('another process serves this socket');
    await clients('n').namespaces.list({});
    await daemon.stop();
  });

  it('replaces the sockets of a predecessor that was killed, makes them for its owner only, and removes them', async () => {
    const { daemon, socket, root, state } = await startBerthd({ dir });
    await daemon.kill9();
    expect(existsSync(socket)).toBe(true);
    await daemon.start();
    for (const path of [socket, `${socket}.ttrpc`]) expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const path of [root, state]) expect(statSync(path).mode & 0o077).toBe(0o011);
    for (const path of ['content', 'snapshots/overlayfs']) expect(statSync(join(root, path)).mode & 0o077).toBe(0);
    await daemon.stop();
    expect(existsSync(socket) || existsSync(`${socket}.ttrpc`)).toBe(false);
  });

  it('stops although a client that listens to events has been stopped itself, and never closes its end', async () => {
    const { daemon, socket, clients } = await startBerthd({ dir });
    const client = spawn('ctr', ['--address', socket, 'events'], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      let made = 0;
      let heard = false;
      client.stdout.once('data', () => {
        heard = true;
      });
      await waitFor('the client to hear of something', async () => {
        await clients('n').namespaces.create({ namespace: { name: `n${made++}` } });
        return heard;
      });
      client.kill('SIGSTOP');
      const { pid } = daemon;
      process.kill(pid, 'SIGTERM');
      await waitFor('berthd to end', () => !existsSync(`/proc/${pid}`));
    } finally {
      client.kill('SIGKILL');
    }
    expect(existsSync(socket)).toBe(false);
  });

  it('lives through SIGHUP: a new log level counts, a mistake in the file changes nothing', async () => {
    const config = join(dir, 'berthd.toml');
    writeFileSync(config, '');
    const { daemon, clients } = await startBerthd({ dir, config });
    process.kill(daemon.pid, 'SIGHUP');
    await waitFor('the reload', async () => daemon.logTail().includes('configuration reloaded'));
    writeFileSync(config, 'nonsense = 1');
    process.kill(daemon.pid, 'SIGHUP');
    await waitFor('the complaint', async () => daemon.logTail().includes('unknown key'));
    await clients('n').namespaces.list({});
    await daemon.stop();
  });

  it.each([
    ['root', 'root directory'],
    ['state', 'state directory'],
  ])('says what is wrong with a read-only %s directory', (which, message) => {
    const target = join(dir, 'readonly');
    mountTmpfs(target, MS_RDONLY);
    const { status, stderr } = run({ [which]: target, address: join(dir, 's') });
    expect(status).toBe(1);
    expect(stderr).toMatch(new RegExp(`^berthd: ${message} ${target} is unusable .*read-only`));
    expect(readdirSync(dir)).not.toContain('s');
  });

  it.each(['root', 'state'])('gives up on a %s directory that cannot be made', (which) => {
    const target = join(dir, 'readonly');
    mountTmpfs(target, MS_RDONLY);
    expect(run({ [which]: join(target, 'a/b') }).stderr).toMatch(/is unusable .*read-only/);
    expect(run({ [which]: '/proc/berth' })).toMatchObject({ status: 1, signal: null });
    writeFileSync(join(dir, 'file'), '');
    expect(run({ [which]: join(dir, 'file') }).stderr).toMatch(/is unusable/);
  });

  it('says what is wrong with a full root directory', () => {
    const target = join(dir, 'full');
    mountTmpfs(target, 0, 'size=16k');
    try {
      writeFileSync(join(target, 'filler'), Buffer.alloc(16_384));
    } catch {
      // Full is what it shall be.
    }
    const { status, stderr } = run({ root: target });
    expect(status).toBe(1);
    expect(stderr).toContain(target);
    expect(stderr).toMatch(/space/);
    expect(existsSync(join(dir, 'berthd.sock'))).toBe(false);
  });

  it('tells the service manager when it is ready and when it stops', async () => {
    const socket = join(dir, 'notify.sock');
    // Node has no datagram sockets of this kind; perl is part of every Debian.
    const script = `$|=1; $s=IO::Socket::UNIX->new(Local=>"${socket}",Type=>SOCK_DGRAM) or die;
      while (1) { $s->recv($m,4096); print "$m\\n" }`;
    const manager = spawn('perl', ['-MIO::Socket::UNIX', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    manager.stdout.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
    });
    try {
      await waitFor('the notify socket', async () => existsSync(socket));
      const flags = ['--root', join(dir, 'root'), '--state', join(dir, 'state'), '--address', join(dir, 's')];
      const daemon = spawn(process.execPath, [main, ...flags], {
        stdio: 'ignore',
        env: { ...process.env, NOTIFY_SOCKET: socket },
      });
      await waitFor('READY=1', async () => heard.includes('READY=1'));
      expect(existsSync(join(dir, 's'))).toBe(true);
      const exited = once(daemon, 'exit');
      daemon.kill('SIGTERM');
      expect(await exited).toEqual([0, null]);
      await waitFor('STOPPING=1', async () => heard.includes('STOPPING=1'));
    } finally {
      manager.kill('SIGKILL');
    }
  });

  it('is one that ctr of Debian can talk to', async () => {
    const { daemon, socket } = await startBerthd({ dir });
    const ctr = (...args: string[]): string =>
      execFileSync('ctr', ['--address', socket, ...args], { encoding: 'utf8' });
    expect(ctr('version')).toContain('berth-');
    ctr('namespaces', 'create', 'blue', 'a=b');
    expect(ctr('namespaces', 'ls')).toMatch(/blue\s+a=b/);
    expect(ctr('plugins', 'ls')).not.toContain('error');
    ctr('snapshots', 'prepare', 'key');
    expect(ctr('snapshots', 'ls')).toMatch(/key\s+Active/);
    ctr('snapshots', 'rm', 'key');
    await daemon.stop();
  });
});
