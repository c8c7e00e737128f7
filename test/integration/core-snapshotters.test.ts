import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { importArchive } from '../support/transfers.ts';

const suite = useBerthd();
const snapshotters = ['overlayfs', 'native'];
let ctr: Ctr;
beforeAll(() => {
  ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
});

const root = () => ({ 'containerd.io/gc.root': 'x' });

describe.each(snapshotters)('an image on the snapshotter %s', (snapshotter) => {
  const image = `docker.io/library/on-${snapshotter}:latest`;
  const keys = async (): Promise<string[]> => {
    const lists = await Array.fromAsync(suite.clients.snapshots.list({ snapshotter }));
    return lists.flatMap(({ info }) => info.map(({ name }) => name));
  };

  it('is unpacked, run with changes of its own, and gone with all files when it is deleted', async () => {
    const clean = leakSnapshot({ dir: suite.dir, names: [suite.namespace] });
    const content = busyboxImage({ files: [{ name: 'etc/own', data: `${snapshotter}\n` }] });
    const store = { unpacks: [{ platform: null, snapshotter }] };
    await importArchive(suite.clients, ociArchive(content, image), image, { store });
    expect((await keys()).length).toBeGreaterThan(0);
    const script = 'cat /etc/own; rm /etc/own; echo changed > /etc/hostname; ls /etc';
    const run = () =>
      ctr.runContainer('--rm', '--snapshotter', snapshotter, image, `on-${snapshotter}`, 'sh', '-c', script);
    for (let round = 0; round < 2; round++) {
      expect(await run()).toMatchObject({ code: 0, stdout: `${snapshotter}\ngroup\nhostname\npasswd\n` });
    }
    await suite.clients.images.delete({ name: image, sync: true });
    expect(await keys()).toEqual([]);
    expect(readdirSync(join(suite.dir, 'root/snapshots', snapshotter))).toEqual([]);
    await expectNoLeaks({ dir: suite.dir, names: [suite.namespace] }, clean);
  });
});

describe('snapshots of every snapshotter', () => {
  it('are made of one image when a transfer names each of them, and go with it', async () => {
    const image = 'docker.io/library/on-all:latest';
    const store = { unpacks: snapshotters.map((snapshotter) => ({ platform: null, snapshotter })) };
    await importArchive(suite.clients, ociArchive(busyboxImage(), image), image, { store });
    const made = () => snapshotters.map((each) => readdirSync(join(suite.dir, 'root/snapshots', each)).length);
    expect(made()).toEqual(snapshotters.map(() => 1));
    const run = (snapshotter: string) =>
      ctr.runContainer('--rm', '--snapshotter', snapshotter, image, `of-all-${snapshotter}`, 'echo', 'here');
    for (const snapshotter of snapshotters) {
      expect(await run(snapshotter)).toMatchObject({ code: 0, stdout: 'here\n' });
    }
    await suite.clients.images.delete({ name: image, sync: true });
    expect(made()).toEqual(snapshotters.map(() => 0));
  });

  it('are told apart by name, and listed with the plugins', async () => {
    const { plugins } = await suite.clients.introspection.plugins({ filters: ['type==io.containerd.snapshotter.v1'] });
    expect(plugins.map(({ id }) => id)).toEqual(snapshotters);
    for (const { id, exports } of plugins) expect(exports.root).toBe(join(suite.dir, 'root/snapshots', id ?? ''));
    for (const snapshotter of ['', 'zfs']) {
      await expect(suite.clients.snapshots.stat({ snapshotter, key: 'x' })).rejects.toMatchObject({
        code: 'invalid_argument',
      });
    }
  });

  it('are listed in pieces when there are many, and other calls are answered in between', async () => {
    const { snapshots, version } = suite.clients;
    const total = 500;
    const keys = Array.from({ length: total }, (_, i) => `many-${String(i).padStart(3, '0')}`);
    for (let at = 0; at < total; at += 50) {
      const some = keys.slice(at, at + 50);
      await Promise.all(some.map((key) => snapshots.view({ snapshotter: 'native', key, labels: root() })));
    }
    const listed: string[] = [];
    let answered = 0;
    for await (const { info } of snapshots.list({ snapshotter: 'native' })) {
      expect(info.length).toBeLessThanOrEqual(100);
      listed.push(...info.map(({ name }) => name));
      if (listed.length < total && (await version.version({})).version !== '') answered++;
    }
    expect(listed).toEqual(keys);
    expect(answered).toBe(total / 100 - 1);
    for (let at = 0; at < total; at += 50) {
      await Promise.all(keys.slice(at, at + 50).map((key) => snapshots.remove({ snapshotter: 'native', key })));
    }
    await snapshots.cleanup({ snapshotter: 'native' });
    expect(readdirSync(join(suite.dir, 'root/snapshots/native'))).toEqual([]);
  });
});
