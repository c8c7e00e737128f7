import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';

const suite = useBerthd();
const mountPoint = '/sys/fs/cgroup';
let chain: string;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
});

/** A new cgroup in one hierarchy of the host; removed with the last process in it gone. */
function hostCgroup(name: string): Disposable & { readonly processes: () => string[] } {
  const unified = existsSync(join(mountPoint, 'cgroup.controllers'));
  const hierarchy = unified ? '' : (readdirSync(mountPoint).find((one) => one === 'pids') ?? 'devices');
  const folder = join(mountPoint, hierarchy, name);
  mkdirSync(folder);
  return {
    processes: () => readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean),
    [Symbol.dispose]: () => rmdirSync(folder),
  };
}

function createTask(id: string, shimCgroup: string) {
  const value = Buffer.from(encode('containerd.runc.v1.Options', { shimCgroup }));
  return suite.clients.tasks.create({ containerId: id, options: { type_url: typeUrls.runcOptions, value } });
}

describe('the cgroup that the options name for the shim', () => {
  it('has the shim in it, and not the container', async () => {
    const { tasks } = suite.clients;
    // Beside the container's: in version 2 a cgroup with processes has none below it that controllers work in.
    const name = `${suite.namespace}-shims`;
    using cgroup = hostCgroup(name);
    await createContainer(suite, { id: 'kept', chain, args: ['sleep', '100'] });
    const { pid } = await createTask('kept', `/${name}`);
    const commands = cgroup.processes().map((one) => readFileSync(`/proc/${one}/cmdline`, 'utf8'));
    expect(commands).toEqual([expect.stringContaining('containerd-shim-berth-v1')]);
    expect(cgroup.processes()).not.toContain(String(pid));
    await tasks.kill({ containerId: 'kept', signal: 9 });
    await tasks.wait({ containerId: 'kept' });
    await tasks.delete({ containerId: 'kept' });
    await removeContainer(suite, 'kept');
    await expect.poll(() => cgroup.processes()).toEqual([]);
  });

  it('must be there', async () => {
    await createContainer(suite, { id: 'lost', chain, args: ['true'] });
    await expect(createTask('lost', '/berth-missing')).rejects.toMatchObject({ code: 'not_found' });
    await removeContainer(suite, 'lost');
  });
});
