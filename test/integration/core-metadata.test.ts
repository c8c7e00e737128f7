import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { timestampToNs } from '#common/timestamp.ts';
import { packJson, typeUrls, unpackJson } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { digestOf } from '../support/busybox-image.ts';
import { writeBlob } from '../support/client-route.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();

/** What a container record can't be without. */
const required = { runtime: { name: 'io.containerd.runc.v2' }, spec: packJson(typeUrls.spec, { ociVersion: '1.0.2' }) };

function blobOf(text: string): { data: Buffer; digest: string; size: number } {
  const data = Buffer.from(text);
  return { data, digest: digestOf(data), size: data.length };
}

function blobPath(digest: string): string {
  return join(suite.berthd.root, 'content/blobs/sha256', digest.slice('sha256:'.length));
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(items);
}

describe('the core daemon', () => {
  it('tells its version', async () => {
    expect(await suite.clients.version.version({})).toMatchObject({
      version: expect.stringMatching(/^v?\d+\.\d+\.\d+/),
      revision: expect.stringMatching(/./),
    });
  });

  it('answers the health check of gRPC for the server as a whole', async () => {
    expect(await suite.clients.health.check({ service: '' })).toEqual({ status: 'SERVING' });
  });

  it('lists plugins without errors, among them the snapshotter', async () => {
    const { plugins } = await suite.clients.introspection.plugins({ filters: [] });
    expect(plugins.filter(({ initErr }) => initErr !== null)).toEqual([]);
    expect(plugins).toContainEqual(expect.objectContaining({ type: 'io.containerd.snapshotter.v1', id: 'overlayfs' }));
  });

  it.each([
    [['type==io.containerd.snapshotter.v1,id==overlayfs'], ['overlayfs']],
    [
      ['id==sandboxes', 'type==io.containerd.sandbox.controller.v1'],
      ['shim', 'sandboxes'],
    ],
    [['id~=^restart$'], ['restart']],
    [['id==none'], []],
  ])('lists the plugins that match %j', async (filters, ids) => {
    const { plugins } = await suite.clients.introspection.plugins({ filters });
    expect(plugins.map(({ id }) => id)).toEqual(ids);
  });

  it('refuses to list plugins by a filter that does not parse', async () => {
    const listed = suite.clients.introspection.plugins({ filters: ['id='] });
    await expect(listed).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('lets a runtime describe itself, with the features of the OCI runtime below it', async () => {
    const value = Buffer.from(encode('containerd.types.RuntimeRequest', { runtimePath: 'io.containerd.runc.v2' }));
    const options = { type_url: 'containerd.types.RuntimeRequest', value };
    const { extra } = await suite.clients.introspection.pluginInfo({
      ...{ type: 'io.containerd.runtime.v2', id: 'task' },
      options,
    });
    const info = decode('containerd.types.RuntimeInfo', extra?.value as Buffer);
    expect(info.name).not.toBe('');
    expect(unpackJson(info.features, 'features')).toMatchObject({ mountOptions: expect.arrayContaining(['bind']) });
  });

  it('says of which plugins it knows nothing more', async () => {
    const options = { type_url: 'containerd.types.RuntimeRequest', value: Buffer.alloc(0) };
    const { introspection } = suite.clients;
    const asked = introspection.pluginInfo({ type: 'io.containerd.gc.v1', id: 'scheduler', options });
    await expect(asked).rejects.toMatchObject({ code: 'unimplemented' });
    const other = { type_url: 'google.protobuf.Empty', value: Buffer.alloc(0) };
    await expect(
      introspection.pluginInfo({ type: 'io.containerd.runtime.v2', id: 'task', options: other }),
    ).rejects.toMatchObject({ code: 'unimplemented' });
    await expect(introspection.pluginInfo({ type: 'none', id: 'none' })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('keeps its UUID when it restarts', async () => {
    const before = await suite.clients.introspection.server({});
    await suite.berthd.daemon.restart();
    const after = await suite.clients.introspection.server({}, { waitForReady: true });
    expect(after.uuid).toBe(before.uuid);
    expect(after.pid).toBe(String(suite.berthd.daemon.pid));
    expect(after.pidns).toBe(String(statSync('/proc/self/ns/pid').ino));
    expect(after.deprecations).toEqual([]);
  });
});

describe('mounts', () => {
  it('that the client can make itself are left to it', async () => {
    const { mounts } = suite.clients;
    expect(await collect(mounts.list({}))).toEqual([]);
    const overlay = { type: 'overlay', source: 'overlay', options: ['lowerdir=/a:/b'] };
    await expect(mounts.activate({ name: 'm', mounts: [overlay] })).rejects.toMatchObject({ code: 'unimplemented' });
    await expect(mounts.info({ name: 'm' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(mounts.update({ info: { name: 'm' } })).rejects.toMatchObject({ code: 'not_found' });
    await expect(mounts.deactivate({ name: 'm' })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('times', () => {
  it('are fine enough to lie between two looks at the clock around the call', async () => {
    const { leases, content } = suite.clients;
    const before = Temporal.Now.instant().epochNanoseconds;
    const { lease } = await leases.create({ id: 'timed' });
    const after = Temporal.Now.instant().epochNanoseconds;
    const created = timestampToNs(lease?.createdAt);
    expect(created).toBeGreaterThanOrEqual(before);
    expect(created).toBeLessThanOrEqual(after);
    await leases.delete({ id: 'timed' });

    const blob = blobOf('timed');
    const { digest } = blob;
    // The end of the lease calls for a collection.
    await writeBlob(suite.clients, blob, { 'containerd.io/gc.root': 'now' });
    const written = await content.info({ digest });
    const updated = await content.update({ info: { digest, labels: { a: '1' } }, updateMask: { paths: ['labels.a'] } });
    expect(updated.info?.createdAt).toEqual(written.info?.createdAt);
    const between = [written.info?.updatedAt, updated.info?.updatedAt].map(timestampToNs) as [bigint, bigint];
    expect(between[1]).toBeGreaterThan(between[0]);
    expect((await content.info({ digest })).info).toEqual(updated.info);
  });
});

describe('namespaces', () => {
  it('are created, labelled, listed and deleted', async () => {
    const { namespaces } = suite.clients;
    const name = `${suite.namespace}-other`;
    await namespaces.create({ namespace: { name, labels: { a: '1', b: '2' } } });
    await namespaces.update({ namespace: { name, labels: { a: '3' } }, updateMask: { paths: ['labels.a'] } });
    expect((await namespaces.get({ name })).namespace).toEqual({ name, labels: { a: '3', b: '2' } });
    const names = async () => (await namespaces.list({})).namespaces.map((each) => each.name);
    expect(await names()).toContain(name);
    await namespaces.delete({ name });
    expect(await names()).not.toContain(name);
    await expect(namespaces.delete({ name })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('are kept while something is in them', async () => {
    const { namespaces, images } = suite.clients;
    const name = `${suite.namespace}-full`;
    await namespaces.create({ namespace: { name } });
    const target = { mediaType: 'text/plain', digest: digestOf(Buffer.from('x')), size: 1 };
    await images.create({ image: { name: 'kept', target } }, { namespace: name });
    await expect(namespaces.delete({ name })).rejects.toMatchObject({ code: 'failed_precondition' });
    await images.delete({ name: 'kept', sync: true }, { namespace: name });
    await namespaces.delete({ name });
  });
});

describe('content', () => {
  it('is written in pieces, read back in parts and listed with its labels', async () => {
    const { content } = suite.clients;
    const blob = blobOf('first second third');
    const call = content.write();
    const answers = call[Symbol.asyncIterator]();
    await call.send({ action: 'WRITE', ref: 'pieces', total: blob.size, data: blob.data.subarray(0, 6) });
    expect((await answers.next()).value).toMatchObject({ action: 'WRITE', offset: '6' });
    await call.send({ action: 'WRITE', offset: 6, data: blob.data.subarray(6, 13) });
    expect((await answers.next()).value).toMatchObject({ action: 'WRITE', offset: '13' });
    await call.send({ action: 'STAT' });
    expect((await answers.next()).value).toMatchObject({ action: 'STAT', offset: '13', total: String(blob.size) });
    const labels = { 'containerd.io/gc.root': 'now', note: 'x' };
    await call.send({ action: 'COMMIT', offset: 13, data: blob.data.subarray(13), expected: blob.digest, labels });
    expect((await answers.next()).value).toMatchObject({ action: 'COMMIT', digest: blob.digest });
    call.end();

    expect((await content.info({ digest: blob.digest })).info).toMatchObject({ size: String(blob.size), labels });
    const part = await collect(content.read({ digest: blob.digest, offset: 6, size: 6 }));
    expect(Buffer.concat(part.map(({ data }) => data)).toString()).toBe('second');
    const listed = (await collect(content.list({ filters: ['labels.note==x'] }))).flatMap(({ info }) => info);
    expect(listed.map(({ digest }) => digest)).toEqual([blob.digest]);
  });

  it('goes on where a write stopped, also after a kill -9', async () => {
    const { content } = suite.clients;
    const blob = blobOf('half of this was written before');
    const first = content.write();
    await first.send({ action: 'WRITE', ref: 'resumed', total: blob.size, data: blob.data.subarray(0, 10) });
    for await (const { offset } of first) {
      expect(offset).toBe('10');
      break;
    }
    await suite.berthd.daemon.restartAfterKill9();

    const { statuses } = await content.listStatuses({ filters: [] }, { waitForReady: true });
    expect(statuses).toEqual([expect.objectContaining({ ref: 'resumed', offset: '10', total: String(blob.size) })]);
    const second = content.write();
    const labels = { 'containerd.io/gc.root': 'now' };
    const rest = blob.data.subarray(10);
    await second.send({ action: 'COMMIT', ref: 'resumed', offset: 10, data: rest, expected: blob.digest, labels });
    second.end();
    expect(await collect(second)).toEqual([expect.objectContaining({ action: 'COMMIT', digest: blob.digest })]);
    expect((await content.listStatuses({ filters: [] })).statuses).toEqual([]);
  });

  it('is refused when the digest does not match, and nothing of it stays', async () => {
    const { content } = suite.clients;
    const expected = digestOf(Buffer.from('something else'));
    const call = content.write();
    await call.send({ action: 'COMMIT', ref: 'wrong', total: 4, expected, data: Buffer.from('this') });
    await expect(collect(call)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(expected),
    });
    await content.abort({ ref: 'wrong' }).catch(() => undefined);
    await expect(content.info({ digest: expected })).rejects.toMatchObject({ code: 'not_found' });
    expect(existsSync(blobPath(digestOf(Buffer.from('this'))))).toBe(false);
  });

  it('has one writer to a ref', async () => {
    const { content } = suite.clients;
    const first = content.write();
    await first.send({ action: 'WRITE', ref: 'taken', data: Buffer.from('x') });
    await first[Symbol.asyncIterator]().next();
    const second = content.write();
    await second.send({ action: 'STAT', ref: 'taken' });
    await expect(collect(second)).rejects.toMatchObject({ code: 'unavailable' });
    first.end();
    await waitFor('the writer to go', () =>
      content.abort({ ref: 'taken' }).then(
        () => true,
        () => false,
      ),
    );
  });

  it('is collected with the last thing that needs it, and not before', async () => {
    const { content, images, leases } = suite.clients;
    const leased = blobOf('kept by a lease');
    const named = blobOf('kept by an image');
    await leases.create({ id: 'keeper' });
    await writeBlob(suite.clients, leased, {}, { lease: 'keeper' });
    await writeBlob(suite.clients, named, {}, { lease: 'keeper' });
    const target = { mediaType: 'text/plain', digest: named.digest, size: named.size };
    await images.create({ image: { name: 'named', target } });
    await leases.delete({ id: 'keeper', sync: true });

    await expect(content.info({ digest: leased.digest })).rejects.toMatchObject({ code: 'not_found' });
    expect(existsSync(blobPath(leased.digest))).toBe(false);
    expect((await content.info({ digest: named.digest })).info?.digest).toBe(named.digest);
    await images.delete({ name: 'named', sync: true });
    await expect(content.info({ digest: named.digest })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('of one namespace is invisible in another', async () => {
    const blob = blobOf('mine alone');
    await writeBlob(suite.clients, blob, { 'containerd.io/gc.root': 'now' });
    await expect(suite.clients.content.info({ digest: blob.digest }, { namespace: 'default' })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

describe('leases', () => {
  it('hold resources until they are taken away', async () => {
    const { leases } = suite.clients;
    const resource = { id: digestOf(Buffer.from('r')), type: 'content' };
    const { lease } = await leases.create({ labels: { x: 'y' } });
    const id = lease?.id as string;
    await leases.addResource({ id, resource });
    expect((await leases.listResources({ id })).resources).toEqual([resource]);
    await leases.deleteResource({ id, resource });
    expect((await leases.listResources({ id })).resources).toEqual([]);
    expect((await leases.list({ filters: [`id==${id}`] })).leases).toMatchObject([{ id, labels: { x: 'y' } }]);
    await leases.delete({ id });
    await expect(leases.delete({ id })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('snapshots', () => {
  const snapshotter = 'overlayfs';
  const labels = { 'containerd.io/gc.root': 'now' };

  it('are prepared, committed, built upon, measured and removed from the top down', async () => {
    const { snapshots } = suite.clients;
    const base = await snapshots.prepare({ snapshotter, key: 'edit', labels });
    expect(base.mounts).toHaveLength(1);
    await snapshots.commit({ snapshotter, name: 'base', key: 'edit', labels });
    const upper = await snapshots.prepare({ snapshotter, key: 'upper', parent: 'base', labels });
    expect(upper.mounts).toMatchObject([{ type: 'overlay' }]);
    expect((await snapshots.mounts({ snapshotter, key: 'upper' })).mounts).toEqual(upper.mounts);
    const view = await snapshots.view({ snapshotter, key: 'view', parent: 'base', labels });
    expect(view.mounts[0]?.options).toContain('ro');

    const listed = (await collect(snapshots.list({ snapshotter }))).flatMap(({ info }) => info);
    expect(Object.fromEntries(listed.map(({ name, kind }) => [name, kind]))).toMatchObject({
      base: 'COMMITTED',
      upper: 'ACTIVE',
      view: 'VIEW',
    });
    expect(Number((await snapshots.usage({ snapshotter, key: 'upper' })).inodes)).toBeGreaterThan(0);

    await expect(snapshots.remove({ snapshotter, key: 'base' })).rejects.toMatchObject({ code: 'failed_precondition' });
    for (const key of ['view', 'upper', 'base']) await snapshots.remove({ snapshotter, key });
    await expect(snapshots.stat({ snapshotter, key: 'base' })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('are refused for a missing parent, a taken key and an unknown snapshotter', async () => {
    const { snapshots } = suite.clients;
    await expect(snapshots.prepare({ snapshotter, key: 'a', parent: 'nobody' })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('nobody'),
    });
    await snapshots.prepare({ snapshotter, key: 'twice', labels });
    await expect(snapshots.prepare({ snapshotter, key: 'twice' })).rejects.toMatchObject({ code: 'already_exists' });
    await snapshots.remove({ snapshotter, key: 'twice' });
    await expect(snapshots.prepare({ snapshotter: 'zfs', key: 'b' })).rejects.toMatchObject({
      code: expect.stringMatching(/^(invalid_argument|not_found)$/),
      message: expect.stringContaining('zfs'),
    });
  });
});

describe('containers', () => {
  it('are created, changed by mask, listed both ways and deleted', async () => {
    const { containers } = suite.clients;
    const extensions = { note: { type_url: 'test/note', value: Buffer.from('{"a":1}') } };
    const created = await containers.create({
      container: { id: 'c1', ...required, labels: { app: 'x', tier: 'y' }, image: 'img', extensions },
    });
    expect(created.container).toMatchObject({ id: 'c1', ...required, labels: { app: 'x', tier: 'y' }, extensions });
    await containers.update({ container: { id: 'c1', labels: { app: 'z' } }, updateMask: { paths: ['labels.app'] } });
    expect((await containers.get({ id: 'c1' })).container?.labels).toEqual({ app: 'z', tier: 'y' });
    const filters = ['labels.app==z'];
    expect((await containers.list({ filters })).containers.map(({ id }) => id)).toEqual(['c1']);
    expect(await collect(containers.listStream({ filters }))).toMatchObject([{ container: { id: 'c1' } }]);
    await containers.delete({ id: 'c1' });
    await expect(containers.get({ id: 'c1' })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('keep their records through a kill -9', async () => {
    const { containers } = suite.clients;
    await containers.create({ container: { id: 'durable', ...required, labels: { a: 'b' } } });
    await suite.berthd.daemon.restartAfterKill9();
    const { container } = await containers.get({ id: 'durable' }, { waitForReady: true });
    expect(container).toMatchObject({ id: 'durable', labels: { a: 'b' } });
    await containers.delete({ id: 'durable' });
  });
});
