import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let lower: string;

/** What nothing holds goes with the next collection, which may come at any time. */
const held = { lease: 'tests' };

beforeAll(() => suite.clients.leases.create({ id: held.lease }));

beforeEach(() => {
  lower = join(suite.dir, 'lower');
  mkdirSync(lower, { recursive: true });
  writeFileSync(join(lower, 'file'), 'data');
});

/** Nothing may be mounted when the directories of the suite are removed. */
afterEach(async () => {
  for (const name of await names()) await suite.clients.mounts.deactivate({ name });
  expect(mountedPoints()).toEqual([]);
  expect(readdirSync(directory())).toEqual([]);
});

function directory(): string {
  return join(suite.berthd.state, 'mounts');
}

/** Mount points below the daemon's directory, in the order of their making. */
function mountedPoints(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.map((line) => line.split(' ')[4] ?? '').filter((path) => path.startsWith(`${directory()}/`));
}

async function names(filters: string[] = []): Promise<string[]> {
  const { mounts } = suite.clients;
  return (await Array.fromAsync(mounts.list({ filters }))).map(({ info }) => info?.name ?? '');
}

const bind = () => ({ type: 'bind', source: lower, options: ['rbind', 'ro'] });
const tmpfs = { type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] };
const merged = {
  type: 'format/overlay',
  source: 'overlay',
  options: ['lowerdir={{ mount 0 }}', 'upperdir={{mount 1}}/upper', 'workdir={{ mount 1 }}/work'],
};

describe('an activation', () => {
  test('mounts what the client can’t, and fills in where that is', async () => {
    const { mounts } = suite.clients;
    const { info } = await mounts.activate({ name: 'one', mounts: [bind(), tmpfs, merged], labels: { a: 'b' } }, held);
    const points = mountedPoints();
    expect(points).toHaveLength(2);
    expect(info).toMatchObject({
      name: 'one',
      labels: { a: 'b' },
      active: [
        { mount: { type: 'bind', source: lower }, mountPoint: points[0] },
        { mount: { type: 'tmpfs' }, mountPoint: points[1] },
      ],
      system: [
        {
          type: 'overlay',
          source: 'overlay',
          options: [`lowerdir=${points[0]}`, `upperdir=${points[1]}/upper`, `workdir=${points[1]}/work`],
        },
      ],
    });
    expect(readFileSync(join(points[0] ?? '', 'file'), 'utf8')).toBe('data');
    expect(await mounts.info({ name: 'one' })).toEqual({ info });
    await expect(mounts.activate({ name: 'one', mounts: [bind(), merged] })).rejects.toMatchObject({
      code: 'already_exists',
    });
    await mounts.deactivate({ name: 'one' });
    expect(mountedPoints()).toEqual([]);
    for (const call of [mounts.info({ name: 'one' }), mounts.deactivate({ name: 'one' })]) {
      await expect(call).rejects.toMatchObject({ code: 'not_found' });
    }
  });

  test('of mounts that the client can make itself is not made, unless it is temporary', async () => {
    const { mounts } = suite.clients;
    await expect(mounts.activate({ name: 'plain', mounts: [bind()] })).rejects.toMatchObject({ code: 'unimplemented' });
    const { info } = await mounts.activate({ name: 'plain', mounts: [bind()], temporary: true }, held);
    const [point = ''] = mountedPoints();
    expect(info?.system).toEqual([{ type: 'bind', source: point, target: '', options: ['rbind'] }]);
    expect(existsSync(join(point, 'file'))).toBe(true);
  });

  test('that fails leaves nothing mounted', async () => {
    const { mounts } = suite.clients;
    const refused = [
      ['unimplemented', { type: 'mkfs/ext4', source: 'x', options: [] }],
      ['invalid_argument', { ...merged, options: ['lowerdir={{ mount 7 }}'] }],
      ['invalid_argument', { ...merged, options: ['lowerdir={{ exec 1 }}'] }],
    ] as const;
    for (const [code, mount] of refused) {
      const request = { name: 'bad', mounts: [bind(), tmpfs, { ...mount, options: [...mount.options] }] };
      await expect(mounts.activate({ ...request, temporary: true })).rejects.toMatchObject({ code });
    }
    const missing = { type: 'bind', source: join(suite.dir, 'missing'), options: ['rbind'] };
    await expect(mounts.activate({ name: 'bad', mounts: [bind(), missing], temporary: true })).rejects.toThrow(
      /missing/,
    );
    expect(await names()).toEqual([]);
    expect(mountedPoints()).toEqual([]);
  });

  test('shows the file system in a file by a loop device that goes with it', async ({ skip }) => {
    skip(!existsSync('/dev/loop-control'), 'this kernel has no loop devices');
    const file = join(suite.dir, 'disk');
    writeFileSync(file, '');
    truncateSync(file, 8 << 20);
    execFileSync('mkfs.ext4', ['-q', '-F', file]);
    const { mounts } = suite.clients;
    const request = { name: 'disk', mounts: [{ type: 'ext4', source: file, options: ['loop', 'nodev'] }] };
    const devices = () => execFileSync('losetup', ['--noheadings', '-O', 'NAME', '-j', file], { encoding: 'utf8' });
    for (const data of ['', 'kept']) {
      await mounts.activate({ ...request, temporary: true }, held);
      const [point = ''] = mountedPoints();
      if (data === 'kept') expect(readFileSync(join(point, 'file'), 'utf8')).toBe(data);
      writeFileSync(join(point, 'file'), 'kept');
      expect(devices()).toMatch(/^\/dev\/loop\d+\n$/);
      await mounts.deactivate({ name: 'disk' });
      await waitFor('the device to go', () => devices() === '');
    }
  });

  test('makes directories first where it may, and nowhere else', async () => {
    const { mounts } = suite.clients;
    const root = join(suite.berthd.root, 'made');
    mkdirSync(root, { recursive: true });
    symlinkSync('/tmp', join(root, 'out'));
    const option = (path: string) => `X-containerd.mkdir.path=${path}`;
    const mount = (path: string) => ({ type: 'mkdir/tmpfs', source: 'tmpfs', options: [option(path), 'size=1m'] });
    const { info } = await mounts.activate({ name: 'made', mounts: [mount(`${root}/new:0750:7:8`)] }, held);
    expect(info?.system).toMatchObject([{ type: 'tmpfs', options: ['size=1m'] }]);
    const { mode, uid, gid } = statSync(join(root, 'new'));
    expect([mode & 0o7777, uid, gid]).toEqual([0o750, 7, 8]);
    const outside = [`${suite.dir}/outside`, `${root}/out/escaped`, `${root}/../../escaped`];
    for (const path of outside) {
      await expect(mounts.activate({ name: 'outside', mounts: [mount(path)] })).rejects.toThrow();
      expect(existsSync(path)).toBe(false);
    }
  });

  test('belongs to its namespace, and is found by name and label', async () => {
    const { mounts } = suite.clients;
    await mounts.activate({ name: 'b', mounts: [bind()], temporary: true, labels: { kind: 'x' } }, held);
    await mounts.activate({ name: 'a', mounts: [bind()], temporary: true }, held);
    expect(await names()).toEqual(['a', 'b']);
    expect(await names(['labels.kind==x'])).toEqual(['b']);
    expect(await names(['name==a'])).toEqual(['a']);
    const paths = { paths: ['labels.kind', 'labels.more'] };
    const info = { name: 'b', labels: { more: 'y' } };
    expect((await mounts.update({ info, updateMask: paths })).info?.labels).toEqual({ more: 'y' });
    await expect(mounts.update({ info, updateMask: { paths: ['active'] } })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    using other = suite.berthd.clients(`${suite.namespace}-other`);
    await expect(other.mounts.info({ name: 'a' })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('activations', () => {
  test('go with the lease or the resource that they belong to', async () => {
    const { mounts, leases, images } = suite.clients;
    await leases.create({ id: 'holder' });
    await images.create({
      image: { name: 'held', target: { mediaType: 'x', digest: `sha256:${'1'.repeat(64)}`, size: 1 } },
    });
    await mounts.activate({ name: 'leased', mounts: [bind()], temporary: true }, { lease: 'holder' });
    const labels = { 'containerd.io/gc.bref.image/why': 'held' };
    await mounts.activate({ name: 'referred', mounts: [bind(), tmpfs], temporary: true, labels });
    await mounts.activate({ name: 'unheld', mounts: [bind()], temporary: true });

    await leases.create({ id: 'other' });
    await leases.delete({ id: 'other', sync: true });
    expect(await names()).toEqual(['leased', 'referred']);
    await leases.delete({ id: 'holder', sync: true });
    expect(await names()).toEqual(['referred']);
    expect(mountedPoints()).toHaveLength(2);
    await images.delete({ name: 'held', sync: true });
    expect(await names()).toEqual([]);
    expect(mountedPoints()).toEqual([]);
  });

  test('in use wait for a later collection', async () => {
    const { mounts, leases } = suite.clients;
    await mounts.activate({ name: 'busy', mounts: [tmpfs], temporary: true }, held);
    const [point = ''] = mountedPoints();
    const before = process.cwd();
    process.chdir(point);
    try {
      await expect(mounts.deactivate({ name: 'busy' })).rejects.toMatchObject({ code: 'failed_precondition' });
      expect(await names()).toEqual([]);
    } finally {
      process.chdir(before);
    }
    await leases.create({ id: 'any' });
    await leases.delete({ id: 'any', sync: true });
    expect(mountedPoints()).toEqual([]);
  });

  test('outlive the daemon, and what was half done does not', async () => {
    const labels = { 'containerd.io/gc.bref.image': 'keeper' };
    const target = { mediaType: 'x', digest: `sha256:${'2'.repeat(64)}`, size: 1 };
    await suite.clients.images.create({ image: { name: 'keeper', target } });
    const { info } = await suite.clients.mounts.activate({ name: 'kept', mounts: [bind(), tmpfs, merged], labels });
    mkdirSync(join(directory(), '77/0'), { recursive: true });
    await suite.berthd.daemon.restart();
    expect(await suite.clients.mounts.info({ name: 'kept' })).toEqual({ info });
    await waitFor('the first collection', () => !existsSync(join(directory(), '77')));
    expect(mountedPoints()).toEqual(info?.active.map(({ mountPoint }) => mountPoint));
  });
});

test('a task gets its root file system out of activated mounts, which go with it', async () => {
  const { clients, dir } = suite;
  const chain = await importImage(clients, busyboxImage(), 'docker.io/library/busybox:latest');
  const labels = { 'containerd.io/gc.root': 'now' };
  const request = { snapshotter: 'overlayfs', key: 'view', parent: chain, labels };
  const { mounts: view } = await clients.snapshots.view(request);
  const upper = join(dir, 'upper');
  for (const name of ['fs', 'work']) mkdirSync(join(upper, name), { recursive: true });
  await createContainer(suite, { id: 'mounted', chain, args: ['sh', '-c', 'echo written > /made'] });
  const layers = ['lowerdir={{ mount 0 }}', 'upperdir={{ mount 1 }}/fs', 'workdir={{ mount 1 }}/work'];
  const rootfs = [
    ...view,
    { type: 'bind', source: upper, options: ['rbind', 'rw'] },
    { type: 'format/overlay', source: 'overlay', options: layers },
  ];
  await clients.tasks.create({ containerId: 'mounted', rootfs });
  const { info } = await clients.mounts.info({ name: 'mounted' });
  expect(info?.active).toHaveLength(2);
  expect(info?.labels).toEqual({ 'containerd.io/gc.bref.container': 'mounted' });
  const exit = clients.tasks.wait({ containerId: 'mounted' });
  await clients.tasks.start({ containerId: 'mounted' });
  expect(await exit).toMatchObject({ exitStatus: 0 });
  await clients.tasks.delete({ containerId: 'mounted' });
  await expect(clients.mounts.info({ name: 'mounted' })).rejects.toMatchObject({ code: 'not_found' });
  expect(mountedPoints()).toEqual([]);
  expect(readFileSync(join(upper, 'fs/made'), 'utf8')).toBe('written\n');

  const mkfs = [{ type: 'mkfs/ext4', source: '/dev/null', options: [] }];
  await expect(clients.tasks.create({ containerId: 'mounted', rootfs: mkfs })).rejects.toMatchObject({
    code: 'unimplemented',
  });
  await removeContainer(suite, 'mounted');
});
