import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
let clean: LeakSnapshot;

/** By name, what the images declare. */
const images = {
  'example.com/volumes:1': ['/data/', 'relative', '/link', '/etc/hosts', '/made/../new'],
  'example.com/file:1': ['/data/note'],
  'example.com/root:1': ['/data/..'],
};

beforeAll(async () => {
  clean = await suite.clean();
  const files = [
    { name: 'data', type: '5', mode: 0o750, uid: 1000, gid: 1000 },
    { name: 'data/note', mode: 0o640, uid: 1000, gid: 2000, data: 'from the image\n' },
    { name: 'data/alias', type: '2', linkName: '/etc/shadow' },
    // On the host this would be another directory.
    { name: 'link', type: '2', linkName: '../../../../etc' },
  ];
  using core = suite.berth.berthd.clients('k8s.io');
  for (const [name, volumes] of Object.entries(images)) await importImage(core, busyboxImage({ files, volumes }), name);
  await waitFor('the images to be known', async () => {
    const known = await suite.cri.image.listImages({});
    return known.images.flatMap(({ repoTags }) => repoTags).filter((name) => name in images).length === 3;
  });
});

const [named, file, root] = Object.keys(images).map((image) => ({ image }));
const kept = () => readdirSync(join(suite.dir, 'root/cri/volumes'));
const mountedAt = (path: string) => `awk '$2 == "${path}" { print $3 }' /proc/mounts`;

describe('a volume that an image declares', () => {
  it('is a directory of the host, begins with what the image has, and goes with its container', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const config = (name: string) =>
      suite.containerConfig(name, 'sleep 1000', {
        image: named,
        linux: { securityContext: { readonlyRootfs: true } },
      });
    const [one, two] = [await suite.start(id, pod, config('one')), await suite.start(id, pod, config('two'))];
    const look = 'stat -c "%a %u %g %N" /data /data/note /data/alias; cat /data/note';
    expect((await suite.exec(one, 'sh', '-c', look)).split('\n')).toEqual([
      '750 1000 1000 /data',
      '640 1000 2000 /data/note',
      expect.stringMatching(/^777 0 0 .*alias.*etc\/shadow/),
      'from the image',
      '',
    ]);
    for (const path of ['/data', '/relative', '/new']) {
      expect(await suite.exec(one, 'sh', '-c', mountedAt(path))).toMatch(/^(?!overlay)\w+\n$/);
    }
    // The root is read-only, its volumes are not; each container has its own.
    await suite.exec(one, 'sh', '-c', 'echo changed > /data/note');
    expect(await suite.exec(two, 'cat', '/data/note')).toBe('from the image\n');
    expect(await suite.exec(one, 'cat', '/etc/hosts')).toContain('localhost');
    expect((await suite.status(one)).mounts).toEqual([]);
    expect(kept().sort()).toEqual([one, two].sort());
    await suite.cri.runtime.stopContainer({ containerId: one, timeout: 0 });
    await suite.cri.runtime.removeContainer({ containerId: one });
    expect(kept()).toEqual([two]);
    await suite.removePod(id);
    expect(kept()).toEqual([]);
    await expectNoLeaks(suite.scope, clean);
  });

  it('is resolved in the image, whatever its links say (CVE-2022-23648)', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', 'sleep 1000', { image: named }));
    // The image's own /etc, which has no such file.
    expect(existsSync('/etc/debian_version')).toBe(true);
    expect(await suite.exec(container, 'sh', '-c', 'ls /link/ | grep -x passwd; ls /link/debian_version || true')).toBe(
      'passwd\n',
    );
    await suite.removePod(id);
  });

  it('gives way to what the pod mounts there', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const mounts = [{ hostPath: join(suite.dir, 'own-data'), containerPath: '/data/' }];
    const container = await suite.start(id, pod, suite.containerConfig('c', 'sleep 1000', { image: named, mounts }));
    expect(await suite.exec(container, 'ls', '/data')).toBe('');
    expect((await suite.status(container)).mounts).toHaveLength(1);
    await suite.removePod(id);
  });

  it('is refused where it can’t be one, and nothing is left', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    for (const [image, word] of [
      [file, 'volume /data/note of the image: the image has no directory there'],
      [root, 'its root as a volume'],
    ] as const) {
      const config = suite.containerConfig('c', 'true', { image });
      await expect(suite.create(id, pod, config)).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(word),
      });
    }
    expect(kept()).toEqual([]);
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});
