import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import {
  type Blob,
  busyboxImage,
  descriptorOf,
  digestOf,
  ociArchive,
  type TestImage,
} from '../support/busybox-image.ts';
import { writeBlob } from '../support/client-route.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { Registry } from '../support/registry.ts';
import { importArchive, pack, pull, push, serveCredentials } from '../support/transfers.ts';

const suite = useBerthd();
const name = 'example.com/push/image:1';
const image = busyboxImage({ files: [{ name: 'etc/pushed', data: 'yes\n' }] });

beforeAll(async () => {
  await importArchive(suite.clients, ociArchive(image, name), '', { unpack: false });
});

const keyOf = (kind: string, { digest }: { digest: string }): string => `${kind}-${digest}`;

/** An index of images of two architectures that only their first layer is common to. */
async function storeIndex(): Promise<{ index: Blob; images: readonly TestImage[]; name: string }> {
  const images = ['amd64', 'arm64'].map((architecture) => busyboxImage({ labels: { architecture } }));
  const manifests = images.map(({ manifest }, at) => ({
    ...descriptorOf(manifest),
    platform: { os: 'linux', architecture: at === 0 ? 'amd64' : 'arm64' },
  }));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const data = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  const index = { mediaType, digest: digestOf(data), size: data.length, data };
  const { clients } = suite;
  const { lease } = await clients.leases.create({ id: 'index' });
  const blobs = new Map(
    [...images.flatMap((one) => [one.manifest, one.config, ...one.layers]), index].map((blob) => [blob.digest, blob]),
  );
  for (const blob of blobs.values()) await writeBlob(clients, blob, {}, { lease: lease?.id });
  const indexName = 'example.com/push/index:1';
  await clients.images.create({ image: { name: indexName, target: descriptorOf(index) } });
  return { index, images, name: indexName };
}

describe('pushing to Debian’s docker-registry', () => {
  let registry: Registry;
  beforeAll(async () => {
    registry = await Registry.start(suite.dir);
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
  });

  it('sends all of an image, tells how it gets on, and sends nothing that is there', async () => {
    const reference = `${registry.host}/pushed/image:v1`;
    const told = await push(suite.clients, name, reference);
    expect(told[0]).toEqual([`Pushing to OCI Registry (${reference})`, '']);
    expect(told[1]).toEqual(['pushing content', name]);
    expect(told.slice(-2)).toEqual([
      ['pushed content', name],
      [`Completed push to OCI Registry (${reference})`, ''],
    ]);
    const parts = [keyOf('manifest', image.manifest), keyOf('config', image.config)].concat(
      image.layers.map((layer) => keyOf('layer', layer)),
    );
    for (const part of parts) {
      expect(told).toContainEqual(['waiting', part]);
      expect(told).toContainEqual(['complete', part]);
    }
    const again = await push(suite.clients, name, reference);
    for (const part of parts) expect(again).toContainEqual(['already exists', part]);
    expect(again.map(([event]) => event)).not.toContain('complete');

    using elsewhere = suite.berthd.clients(`${suite.namespace}-pull`);
    await pull(elsewhere, reference);
    expect((await elsewhere.images.get({ name: reference })).image?.target?.digest).toBe(image.manifest.digest);
  });

  it('borrows blobs from a repository that they came from', async () => {
    const source = busyboxImage({ files: [{ name: 'etc/borrowed', data: 'x' }] });
    const pulled = await registry.push(source, 'first/source', 'v1');
    await pull(suite.clients, pulled);
    const told = await push(suite.clients, pulled, `${registry.host}/second/copy:v1`);
    expect(told).toContainEqual(['already exists', keyOf('config', source.config)]);
    expect(told).toContainEqual(['complete', keyOf('manifest', source.manifest)]);
    expect(told.map(([event]) => event)).not.toContain('uploading');
  });

  it('sends every platform of an index, or those that are chosen', async () => {
    const { index, images, name: indexName } = await storeIndex();
    const whole = `${registry.host}/index/whole:v1`;
    await push(suite.clients, indexName, whole);
    using elsewhere = suite.berthd.clients(`${suite.namespace}-index`);
    await pull(elsewhere, whole, { unpack: false });
    for (const { digest } of [index, ...images.flatMap(({ config, manifest }) => [config, manifest])]) {
      expect((await elsewhere.content.info({ digest })).info?.digest).toBe(digest);
    }
    // This registry wants all that an index names: what was sent before it is there, and the error says why.
    const platforms = [{ os: 'linux', architecture: 'arm64' }];
    const part = `${registry.host}/index/part:v1`;
    await expect(push(suite.clients, indexName, part, { store: { platforms } })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('missing in your target registry'),
    });
    const [, arm] = images as [TestImage, TestImage];
    await pull(elsewhere, `${registry.host}/index/part@${arm.manifest.digest}`, { unpack: false });
    const unknown = { store: { platforms: [{ os: 'linux', architecture: 's390x' }] } };
    await expect(push(suite.clients, indexName, part, unknown)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('names an image that isn’t here, and a part that neither side has', async () => {
    const reference = `${registry.host}/missing/image:v1`;
    await expect(push(suite.clients, 'example.com/none:1', reference)).rejects.toMatchObject({ code: 'not_found' });
    const holey = busyboxImage({ files: [{ name: 'etc/hole', data: 'x' }] });
    const holeyName = 'example.com/push/holey:1';
    await importArchive(suite.clients, ociArchive(holey, holeyName), '', { unpack: false });
    const { digest = '' } = holey.layers[1] ?? {};
    await suite.clients.content.delete({ digest });
    await expect(push(suite.clients, holeyName, reference)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(digest),
    });
    await expect(push(suite.clients, name, 'example.com/UPPER')).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(push(suite.clients, name, '127.0.0.1:1/a/b:1')).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('pushing to a registry that misbehaves', () => {
  let registry: FakeRegistry;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
  });
  afterEach(async () => {
    await registry[Symbol.asyncDispose]();
  });

  it('asks the client for credentials over its stream, once, and keeps them out of the log', async () => {
    const expected = `Basic ${Buffer.from('me:push-secret').toString('base64')}`;
    registry.intercept = ({ headers }, response) => {
      if (headers.authorization === expected) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      return true;
    };
    const reference = `${registry.host}/test/image:v1`;
    await using credentials = await serveCredentials(suite.clients, 'me', 'push-secret');
    await push(suite.clients, name, reference, { resolver: { authStream: credentials.id } });
    expect(credentials.asked).toEqual([registry.host]);
    expect(registry.stored('v1')).toEqual(image.manifest.data);
    await expect(push(suite.clients, name, reference)).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(suite.berthd.daemon.logTail(1000)).not.toContain('push-secret');
  });

  it('ends when the client goes, without an upload going on', async () => {
    const leaving = new AbortController();
    registry.intercept = ({ method }) => {
      if (method === 'PUT') leaving.abort();
      return method === 'PUT';
    };
    const reference = `${registry.host}/test/image:v1`;
    await expect(push(suite.clients, name, reference, { signal: leaving.signal })).rejects.toMatchObject({
      code: 'canceled',
    });
    registry.intercept = () => false;
    await push(suite.clients, name, reference);
    expect(registry.stored('v1')).toEqual(image.manifest.data);
    expect((await suite.clients.leases.list({})).leases.map(({ id }) => id)).toEqual(['index']);
  });
});

it('a transfer between ends that don’t go together is told by their names', async () => {
  const registry = pack('containerd.types.transfer.OCIRegistry', { reference: 'example.com/a/b:1' });
  const unknown = { type_url: 'types.example.com/Unknown', value: Buffer.alloc(0) };
  const { transfer } = suite.clients.transfer;
  for (const [source, destination] of [
    [registry, registry],
    [registry, unknown],
  ] as const) {
    await expect(transfer({ source, destination })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringMatching(new RegExp(`${source.type_url}.*${destination.type_url}`)),
    });
  }
});
