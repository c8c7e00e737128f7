import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '#common/grpc/client.ts';
import { native } from '#common/native/index.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { ContainersDefinition, ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import { type Berthd, startBerthd } from '../support/berthd.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { type Blob, busyboxImage, digestOf } from '../support/busybox-image.ts';
import { importImage, writeBlob } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';
import type { CoreClients } from '../support/core-clients.ts';
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';

const required = { runtime: { name: 'io.containerd.runc.v2' }, spec: packJson(typeUrls.spec, { ociVersion: '1.0.2' }) };

function refusal(code: string, ...words: readonly string[]): object {
  return { code, message: expect.stringMatching(new RegExp(words.map((word) => RegExp.escape(word)).join('.*'))) };
}

describe('a call', () => {
  const suite = useBerthd();

  it('without a namespace is refused', async () => {
    using channel = connect(suite.berthd.socket);
    const containers = channel.client<ContainersHandlers, ContainersDefinition>(
      'containerd.services.containers.v1.Containers',
    );
    await expect(containers.list({})).rejects.toMatchObject(refusal('failed_precondition', 'namespace'));
  });

  it.each(['', 'a/b', '../etc', '-a', 'a..b', 'ä', 'x'.repeat(77)])('with the id "%s" is refused', async (id) => {
    const { containers, namespaces } = suite.clients;
    await expect(containers.create({ container: { id, ...required } })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    await expect(namespaces.create({ namespace: { name: id } })).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('in a namespace that is no name is refused', async () => {
    const { containers } = suite.clients;
    for (const namespace of ['a/b', '../etc', 'x'.repeat(77)]) {
      await expect(containers.list({}, { namespace })).rejects.toMatchObject(refusal('invalid_argument', namespace));
    }
  });

  it('with a malformed digest is refused by name', async () => {
    const { content, images } = suite.clients;
    for (const digest of ['sha256:short', 'md5:d41d8cd98f00b204e9800998ecf8427e', '../../etc/passwd']) {
      await expect(content.info({ digest })).rejects.toMatchObject({
        code: expect.stringMatching(/^(invalid_argument|not_found)$/),
        message: expect.stringContaining(digest),
      });
      const target = { mediaType: 'x/y', digest, size: 1 };
      await expect(images.create({ image: { name: 'bad', target } })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(digest),
      });
    }
  });

  it('with a malformed filter is refused, and the place of the mistake is told', async () => {
    await expect(suite.clients.containers.list({ filters: ['labels.a=='] })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('labels.a=='),
    });
  });

  it('with a label that is too long is refused', async () => {
    const labels = { key: 'x'.repeat(4096) };
    await expect(
      suite.clients.containers.create({ container: { id: 'labelled', ...required, labels } }),
    ).rejects.toMatchObject(refusal('invalid_argument', 'key'));
  });

  it('for something unknown is not found, by name', async () => {
    const { containers, content, images, leases, snapshots } = suite.clients;
    const digest = digestOf(Buffer.from('nowhere'));
    const snapshotter = 'overlayfs';
    await expect(containers.get({ id: 'nobody' })).rejects.toMatchObject(refusal('not_found', 'nobody'));
    await expect(content.read({ digest }).next()).rejects.toMatchObject(refusal('not_found', digest));
    await expect(images.get({ name: 'none' })).rejects.toMatchObject(refusal('not_found', 'none'));
    await expect(leases.delete({ id: 'none' })).rejects.toMatchObject(refusal('not_found', 'none'));
    await expect(snapshots.stat({ snapshotter, key: 'none' })).rejects.toMatchObject(refusal('not_found', 'none'));
    await expect(snapshots.prepare({ snapshotter, key: 'leased' }, { lease: 'gone' })).rejects.toMatchObject(
      refusal('not_found', 'gone'),
    );
  });

  it('for a second container of a name is refused by name', async () => {
    const { containers } = suite.clients;
    await containers.create({ container: { id: 'twin', ...required } });
    await expect(containers.create({ container: { id: 'twin', ...required } })).rejects.toMatchObject(
      refusal('already_exists', 'twin'),
    );
    await containers.delete({ id: 'twin' });
  });
});

describe('a disk that is full', () => {
  let dir: string;
  let disk: string;
  let berthd: Berthd | undefined;
  let clients: CoreClients;
  const namespace = 'full';

  beforeEach(() => {
    dir = scratchDir();
    disk = join(dir, 'disk');
    mkdirSync(disk);
    native.mount('tmpfs', disk, 'tmpfs', 0, 'size=8m');
  });

  afterEach(async () => {
    clients[Symbol.dispose]();
    await berthd?.daemon.stop();
    removeScratch(dir);
  });

  async function start(): Promise<void> {
    berthd = await startBerthd({ dir: disk });
    clients = berthd.clients(namespace);
    await clients.namespaces.create({ namespace: { name: namespace } });
  }

  /** Takes all space but a few pages. */
  function fill(): string {
    const filler = join(disk, 'filler');
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(filler, Buffer.alloc((bavail - 2) * bsize));
    return filler;
  }

  it('refuses a blob with resource_exhausted, drops what came of it, and takes it once there is room', async () => {
    await start();
    const data = Buffer.alloc(1024 * 1024, 'x');
    const blob: Blob = { mediaType: 'x/y', data, digest: digestOf(data), size: data.length };
    const filler = fill();
    await expect(writeBlob(clients, blob)).rejects.toMatchObject({ code: 'resource_exhausted' });
    await clients.version.version({});
    rmSync(filler);
    await clients.content.abort({ ref: `write-${blob.digest}` }).catch(() => undefined);
    expect(readdirSync(join(disk, 'root/content/ingest'))).toEqual([]);
    await writeBlob(clients, blob, { 'containerd.io/gc.root': 'now' });
    expect((await clients.content.info({ digest: blob.digest })).info?.size).toBe(String(blob.size));
  });
});

describe('a state directory that is full', () => {
  const suite = useBerthd();
  let chain: string;

  beforeAll(async () => {
    chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  });

  it('fails a task with a message that names it, and leaves nothing of it', async () => {
    const { tasks } = suite.clients;
    const scope = { dir: suite.dir, names: [suite.namespace] };
    const folder = join(suite.berthd.state, 'io.containerd.runtime.v2.task', suite.namespace);
    mkdirSync(folder, { recursive: true });
    native.mount('tmpfs', folder, 'tmpfs', 0, 'size=4k,nr_inodes=2');
    const before = leakSnapshot(scope);
    await createContainer(suite, { id: 'cramped', chain, args: ['true'] });
    await expect(tasks.create({ containerId: 'cramped' })).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: expect.stringContaining('cramped'),
    });
    await removeContainer(suite, 'cramped');
    await expectNoLeaks(scope, before);
    execFileSync('umount', [folder]);
  });
});
