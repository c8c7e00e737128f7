import { copyFileSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, endContainer, removeContainer, runContainer } from '../support/container.ts';
import { shimProcesses, shimTemplates } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';

const installed = join(import.meta.dirname, '../../dist');
const suite = useBerthd();
let chain: string;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
});

const run = (id: string, runtime?: string): Promise<number> =>
  runContainer(suite, { id, chain, args: ['sleep', '1000'], ...(runtime === undefined ? {} : { runtime }) });
const end = (id: string): Promise<void> => endContainer(suite, id);

function argvOf(pid: number | string): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '').split('\0');
}

/** Templates that this suite's daemon has started and that live. */
const templates = (): number[] => shimTemplates(suite.berthd.daemon.pid);

function shimOf(id: string): number {
  const found = shimProcesses(suite.namespace).find((shim) => shim.id === id);
  if (found === undefined) throw new Error(`${id} has no shim`);
  return found.pid;
}

const isThere = (pid: number): boolean => readdirSync('/proc').includes(String(pid));

describe('the template that shims are forked from', () => {
  it('is one for all, and each shim is a process with a name, a session, a folder and an event loop of its own', async () => {
    await run('first');
    await run('second');
    expect(templates()).toHaveLength(1);
    const loops = ['first', 'second'].map((id) => {
      const pid = shimOf(id);
      const argv = argvOf(pid);
      expect(argv.slice(-5)).toEqual([...argv.slice(-5, -3), '-socket', expect.stringContaining('/s/'), 'serve']);
      expect(argv[argv.indexOf('-id') + 1]).toBe(id);
      expect(readlinkSync(`/proc/${pid}/cwd`)).toBe(
        join(suite.berthd.state, 'io.containerd.runtime.v2.task', suite.namespace, id),
      );
      const [, , , , session] = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/\(.*\)/, '')
        .split(/ +/);
      expect(Number(session)).toBe(pid);
      const fds = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      // Nothing of the template's or the daemon's is left open: neither the request's socket, nor another shim's pipe.
      expect(fds.filter((target) => target.startsWith('socket:'))).toHaveLength(3);
      expect(fds.filter((target) => target.startsWith('pipe:'))).toEqual([]);
      return fds.filter((target) => target === 'anon_inode:[eventpoll]').length;
    });
    // The event loop's, the poller's, and the one by which a thread waits for that.
    expect(loops).toEqual([3, 3]);
    expect(suite.berthd.daemon.logTail()).not.toContain('the rehearsal failed');
    await end('first');
    expect(shimOf('second')).toBeGreaterThan(0);
    await end('second');
  });

  it('may be killed: its shims go on, and the next container gets a new one', async () => {
    await run('before');
    const [template = 0] = templates();
    process.kill(template, 'SIGKILL');
    await waitFor('the template to be gone', () => templates().length === 0);
    await run('after');
    expect(templates()).toHaveLength(1);
    await end('before');
    await end('after');
  });

  it('ends with the daemon, and the shims do not', async () => {
    const pid = await run('lasting');
    const [template = 0] = templates();
    const shim = shimOf('lasting');
    await suite.berthd.daemon.kill9();
    await waitFor('the template to end', () => !isThere(template));
    expect([shim, pid].map(isThere)).toEqual([true, true]);
    await suite.berthd.daemon.start();
    await suite.clients.version.version({}, { waitForReady: true });
    expect(templates()).toEqual([]);
    await end('lasting');
  });

  it('is made anew once another program has been installed in its place', async () => {
    const folder = join(suite.dir, 'installed');
    const program = join(folder, 'containerd-shim-berth-v1');
    mkdirSync(folder);
    copyFileSync(join(installed, 'containerd-shim-berth-v1'), program);
    await run('old', program);
    const ofProgram = () => templates().filter((pid) => argvOf(pid)[0] === program);
    const [old] = ofProgram();
    copyFileSync(join(installed, 'containerd-shim-berth-v1'), `${program}.new`);
    renameSync(`${program}.new`, program);
    await run('new', program);
    await waitFor('the old one to be gone', () => ofProgram().length === 1 && ofProgram()[0] !== old);
    await end('old');
    await end('new');
  });

  it('that hangs fails a Create when that is given up, and nothing comes of it later', async () => {
    await run('there');
    const [template = 0] = templates();
    process.kill(template, 'SIGSTOP');
    await createContainer(suite, { id: 'given-up', chain, args: ['true'] });
    const abort = new AbortController();
    const creating = suite.clients.tasks.create({ containerId: 'given-up' }, { signal: abort.signal });
    const bundle = join(suite.berthd.state, 'io.containerd.runtime.v2.task', suite.namespace, 'given-up');
    await waitFor('the bundle', () => readdirSync(join(bundle, '..')).includes('given-up'));
    abort.abort();
    await expect(creating).rejects.toMatchObject({ code: 'canceled' });
    await waitFor('the bundle to be gone', () => !readdirSync(join(bundle, '..')).includes('given-up'));
    process.kill(template, 'SIGCONT');
    // Requests are taken one after another: once this one is served, the one before has ended.
    await run('next');
    await waitFor(
      'no shim but those of two containers',
      () =>
        shimProcesses(suite.namespace)
          .map(({ id }) => id)
          .sort()
          .join() === 'next,there',
    );
    await removeContainer(suite, 'given-up');
    await end('there');
    await end('next');
  });
});
