import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isCode } from '#common/errors.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, digestOf, type TestImage } from '../support/busybox-image.ts';
import { FakeRegistry, type Interception } from '../support/fake-registry.ts';
import { Registry } from '../support/registry.ts';
import { pull, serveCredentials } from '../support/transfers.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let images = 0;

/** An image that no other test has: its second layer is its own. */
function freshImage(size = 3000): TestImage {
  images++;
  const text = Buffer.alloc(size, `${suite.dir} ${images} `);
  for (let at = 0; at < text.length; at += 64) text.writeUInt32LE(Math.imul(at + images, 2_654_435_761) >>> 0, at);
  return busyboxImage({ files: [{ name: `own/${images}`, data: text }] });
}

async function imageNames(): Promise<string[]> {
  const { images: list } = await suite.clients.images.list({});
  return list.map(({ name }) => name);
}

async function snapshots(): Promise<string[]> {
  const names: string[] = [];
  for await (const { info } of suite.clients.snapshots.list({ snapshotter: 'overlayfs' })) {
    names.push(...info.map(({ name }) => name));
  }
  return names;
}

async function blobs(): Promise<Map<string, Record<string, string>>> {
  const found = new Map<string, Record<string, string>>();
  for await (const { info } of suite.clients.content.list({})) {
    for (const { digest, labels } of info) found.set(digest, labels);
  }
  return found;
}

async function leases(): Promise<string[]> {
  return (await suite.clients.leases.list({})).leases.map(({ id }) => id);
}

async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => expect.unreachable('it succeeded'),
    (error: Error) => error,
  );
}

describe('pulling from Debian’s docker-registry', () => {
  let registry: Registry;
  beforeAll(async () => {
    registry = await Registry.start(suite.dir);
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
  });

  it('stores and unpacks the image, labels what belongs together, and tells how it gets on', async () => {
    const image = freshImage();
    const reference = await registry.push(image, 'test/whole');
    const told = await pull(suite.clients, reference, { store: { labels: { 'io.example': 'x' } } });

    const { image: record } = await suite.clients.images.get({ name: reference });
    expect(record).toMatchObject({ target: { digest: image.manifest.digest }, labels: { 'io.example': 'x' } });
    const found = await blobs();
    const [base, own] = image.layers as [TestImage['config'], TestImage['config']];
    expect(found.get(image.manifest.digest)).toMatchObject({
      'containerd.io/gc.ref.content.config': image.config.digest,
      'containerd.io/gc.ref.content.l.0': base.digest,
      'containerd.io/gc.ref.content.l.1': own.digest,
      'containerd.io/distribution.source.127.0.0.1': 'test/whole',
    });
    expect(found.get(own.digest)).toMatchObject({ 'containerd.io/uncompressed': expect.stringMatching(/^sha256:/) });
    const top = found.get(image.config.digest)?.['containerd.io/gc.ref.snapshot.overlayfs'];
    expect(await snapshots()).toContain(top);
    expect(await leases()).toEqual([]);

    const events = told.filter(([, name]) => name === `layer-${own.digest}`).map(([event]) => event);
    expect(events[0]).toBe('waiting');
    expect(events).toContain('complete');
    expect(events.at(-1)).toBe('extracted');
    expect(told).toContainEqual(['saved', reference]);
    expect(told.at(-1)?.[0]).toMatch(/^Completed pull/);
  });

  it('keeps what it pulled when garbage is collected, and nothing once the name is gone', async () => {
    const image = freshImage();
    const reference = await registry.push(image, 'test/collected');
    await pull(suite.clients, reference);
    const before = await snapshots();
    await suite.clients.images.delete({ name: 'no such image', sync: true }).catch(() => undefined);
    expect(await snapshots()).toEqual(before);
    expect((await blobs()).has(image.config.digest)).toBe(true);
    await suite.clients.images.delete({ name: reference, sync: true });
    expect((await blobs()).has(image.config.digest)).toBe(false);
    expect((await snapshots()).length).toBeLessThan(before.length);
  });

  it('unpacks nothing unless it is asked to', async () => {
    const reference = await registry.push(freshImage(), 'test/packed');
    const before = await snapshots();
    await pull(suite.clients, reference, { unpack: false });
    expect(await snapshots()).toEqual(before);
    expect(await imageNames()).toContain(reference);
    await pull(suite.clients, reference);
    expect((await snapshots()).length).toBeGreaterThan(before.length);
  });

  it('fetches and unpacks once when several clients pull the same image at the same time', async () => {
    const image = freshImage(2_000_000);
    const reference = await registry.push(image, 'test/concurrent');
    const told = await Promise.all(Array.from({ length: 5 }, () => pull(suite.clients, reference)));
    const own = `layer-${image.layers[1]?.digest}`;
    const all = told.flat().filter(([, name]) => name === own);
    expect(all.filter(([event]) => event === 'complete')).toHaveLength(1);
    expect(all.filter(([event]) => event === 'already exists')).toHaveLength(4);
    expect(all.filter(([event]) => event === 'extracted')).toHaveLength(1);
    expect(told.every((one) => one.some(([event]) => event === 'saved'))).toBe(true);
  });

  it('says which blob is damaged, and leaves neither image nor snapshot behind', async () => {
    const image = freshImage();
    const reference = await registry.push(image, 'test/damaged');
    const own = image.layers[1] as TestImage['config'];
    registry.corrupt(own);
    const before = await snapshots();
    const error = await failure(pull(suite.clients, reference));
    expect(error).toMatchObject({ code: 'data_loss' });
    expect(error.message).toContain(own.digest);
    expect(await imageNames()).not.toContain(reference);
    await waitFor('its snapshots to go', async () => (await snapshots()).length <= before.length + 1);
    expect((await blobs()).has(own.digest)).toBe(false);
    expect((await snapshots()).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });

  it.each([
    ['a missing image', (host: string) => `${host}/test/none:v1`, 'not_found', /test\/none:v1/],
    ['a malformed reference', () => 'UPPER/Case:x:y', 'invalid_argument', /UPPER\/Case/],
    ['a registry that isn’t there', () => '127.0.0.1:1/test/x:1', 'unavailable', /127\.0\.0\.1:1/],
  ])('names %s', async (_what, reference, code, message) => {
    const error = await failure(pull(suite.clients, reference(registry.host)));
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(message);
    expect(await leases()).toEqual([]);
  });

  it('makes the same tree as another client that unpacks by itself', async () => {
    const reference = await registry.push(freshImage(), 'test/by-ctr');
    const address = ['--address', suite.berthd.socket, '--namespace', suite.namespace];
    execFileSync('ctr', [...address, 'images', 'pull', '--plain-http', reference], { stdio: 'ignore' });
    expect(await imageNames()).toContain(reference);
    expect((await snapshots()).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });
});

describe('pulling from a registry that misbehaves', () => {
  let registry: FakeRegistry;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
  });
  afterEach(async () => {
    await registry[Symbol.asyncDispose]();
  });

  it('resumes a layer whose transfer breaks off, from where it broke off', async () => {
    const image = freshImage(400_000);
    const own = image.layers[1] as TestImage['config'];
    const reference = registry.add(image);
    let broken = 0;
    registry.intercept = ({ url, headers }, response) => {
      if (!url?.endsWith(own.digest) || broken === 2) return false;
      broken++;
      const start = Number(/bytes=([0-9]+)/.exec(headers.range ?? '')?.[1] ?? 0);
      const length = own.size - start;
      response.writeHead(start > 0 ? 206 : 200, {
        'content-length': length,
        ...(start > 0 ? { 'content-range': `bytes ${start}-${own.size - 1}/${own.size}` } : {}),
      });
      response.write(own.data.subarray(start, start + (own.size >> 2)), () => response.destroy());
      return true;
    };
    await pull(suite.clients, reference);
    const ranges = registry.requestsFor(own.digest).map(({ headers }) => headers.range);
    expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]/), expect.stringMatching(/^bytes=[1-9]/)]);
  });

  it('resumes after a pull that failed, also across a restart of the daemon', async () => {
    const image = freshImage(400_000);
    const own = image.layers[1] as TestImage['config'];
    const reference = registry.add(image);
    registry.intercept = sendHalf(own);
    const controller = new AbortController();
    const first = failure(pull(suite.clients, reference, { signal: controller.signal }));
    await halfOf(own);
    controller.abort();
    await first;
    await suite.berthd.daemon.restartAfterKill9();
    await reconnected();
    registry.intercept = () => false;
    await pull(suite.clients, reference);
    expect(registry.requestsFor(own.digest).at(-1)?.headers.range).toBe(`bytes=${own.size >> 1}-`);
  });

  it('lets the others go on when the client that began a pull goes away', async () => {
    const image = freshImage(400_000);
    const own = image.layers[1] as TestImage['config'];
    const reference = registry.add(image);
    registry.intercept = sendHalf(own);
    const controller = new AbortController();
    const first = failure(pull(suite.clients, reference, { signal: controller.signal }));
    await halfOf(own);
    const second = pull(suite.clients, reference);
    await waitFor('the second pull', () => registry.requestsFor('latest').length === 2);
    registry.intercept = () => false;
    controller.abort();
    expect(isCode(await first, 'canceled')).toBe(true);
    await second;
    expect(await imageNames()).toContain(reference);
    expect(registry.requestsFor(own.digest).at(-1)?.headers.range).toBe(`bytes=${own.size >> 1}-`);
  });

  it('begins anew once when the bytes are wrong, and then gives up', async () => {
    const image = freshImage();
    const own = image.layers[1] as TestImage['config'];
    const reference = registry.add(image);
    const wrong = Buffer.alloc(own.size, 'x');
    let left = 1;
    registry.intercept = ({ url }, response) => {
      if (!url?.endsWith(own.digest) || left-- <= 0) return false;
      response.end(wrong);
      return true;
    };
    await pull(suite.clients, reference);
    const other = freshImage();
    const bad = other.layers[1] as TestImage['config'];
    registry.intercept = ({ url }, response) =>
      url?.endsWith(bad.digest) && Boolean(response.end(Buffer.alloc(bad.size)));
    const error = await failure(pull(suite.clients, registry.add(other)));
    expect(error).toMatchObject({ code: 'data_loss' });
    expect(error.message).toMatch(/digest mismatch/);
    expect(registry.requestsFor(bad.digest)).toHaveLength(2);
  });

  it('reads no further than a layer is long', async () => {
    const image = freshImage();
    const own = image.layers[1] as TestImage['config'];
    registry.intercept = ({ url }, response) => {
      if (!url?.endsWith(own.digest)) return false;
      response.write(own.data);
      const more = setInterval(() => response.write(Buffer.alloc(65_536)), 1);
      response.on('close', () => clearInterval(more));
      return true;
    };
    const error = await failure(pull(suite.clients, registry.add(image)));
    expect(error).toMatchObject({ code: 'data_loss' });
    expect(error.message).toMatch(/sends more than/);
  });

  it('refuses a layer that is not what the config says, without a snapshot left', async () => {
    const image = freshImage();
    const config = JSON.parse(image.config.data.toString());
    config.rootfs.diff_ids[1] = digestOf(Buffer.from('something else'));
    const data = Buffer.from(JSON.stringify(config));
    const changed = { ...image.config, data, digest: digestOf(data), size: data.length };
    const manifest = JSON.parse(image.manifest.data.toString());
    manifest.config = { ...manifest.config, digest: changed.digest, size: changed.size };
    const text = Buffer.from(JSON.stringify(manifest));
    const lying = {
      ...image,
      config: changed,
      manifest: { ...image.manifest, data: text, digest: digestOf(text), size: text.length },
    };
    const error = await failure(pull(suite.clients, registry.add(lying)));
    expect(error).toMatchObject({ code: 'data_loss' });
    expect(error.message).toMatch(/unpacks to sha256:/);
    expect((await snapshots()).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });

  it('asks the client for credentials over its stream, once', async () => {
    const reference = registry.add(freshImage());
    const expected = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    registry.intercept = ({ headers }, response) => {
      if (headers.authorization === expected) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return true;
    };
    await using credentials = await serveCredentials(suite.clients, 'me', 'secret');
    await pull(suite.clients, reference, { resolver: { authStream: credentials.id } });
    expect(credentials.asked).toEqual([registry.host]);
    await using wrong = await serveCredentials(suite.clients, 'me', 'wrong');
    const error = await failure(pull(suite.clients, reference, { resolver: { authStream: wrong.id } }));
    expect(error).toMatchObject({ code: 'unauthenticated' });
    expect(suite.berthd.daemon.logTail(1000)).not.toMatch(/secret|wrong/);
  });

  describe('of an image for several platforms', () => {
    const host = process.arch === 'x64' ? 'amd64' : process.arch;
    const platforms = [{ os: 'linux', architecture: host }];

    function entry({ mediaType, size, digest }: TestImage['manifest'], architecture: string) {
      return { mediaType, digest, size, platform: { os: 'linux', architecture } };
    }

    function addIndex(tag: string, manifests: object[]): string {
      const type = 'application/vnd.oci.image.index.v1+json';
      const data = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests }));
      registry.addDocument(type, digestOf(data), data, tag);
      return `${registry.host}/test/image:${tag}`;
    }

    it('takes what fits this machine, and says what there is when nothing does', async () => {
      const image = freshImage();
      registry.add(image);
      const missing = { ...image.manifest, digest: digestOf(Buffer.from('not served')) };
      const both = addIndex('both', [entry(missing, 's390x'), entry(image.manifest, host)]);
      await pull(suite.clients, both, { store: { platforms } });
      expect(await imageNames()).toContain(both);
      const none = addIndex('none', [entry(image.manifest, 's390x')]);
      const error = await failure(pull(suite.clients, none, { store: { platforms } }));
      expect(error).toMatchObject({ code: 'not_found' });
      expect(error.message).toMatch(new RegExp(`no image for linux/${host}; it has linux/s390x`));
    });

    it('takes manifests and configs of the others too when it is asked to, as far as they are there', async () => {
      const [ours, theirs] = [freshImage(), freshImage()];
      for (const image of [ours, theirs]) registry.add(image);
      const missing = { ...ours.manifest, digest: digestOf(Buffer.from('not served either')) };
      const manifests = [entry(ours.manifest, host), entry(theirs.manifest, 's390x'), entry(missing, 'riscv64')];
      await pull(suite.clients, addIndex('metadata', manifests), { store: { platforms, allMetadata: true } });
      const there = await blobs();
      for (const { digest } of [theirs.manifest, theirs.config]) expect([...there.keys()]).toContain(digest);
      expect([...there.keys()]).not.toContain(theirs.layers[1]?.digest);
      expect(there.get(theirs.manifest.digest)).toMatchObject({
        'containerd.io/gc.ref.content.config': theirs.config.digest,
      });
    });
  });

  it('ends the process that unpacks when it is killed, and reports it', async () => {
    const image = freshImage(30_000_000);
    const pulling = failure(pull(suite.clients, registry.add(image)));
    const pid = await waitFor('an unpack process that works', () => unpackingProcess());
    process.kill(pid as number, 'SIGKILL');
    const error = await pulling;
    expect(error).toMatchObject({ code: 'aborted' });
    expect(error.message).toMatch(/SIGKILL/);
    expect((await snapshots()).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });

  it('leaves no process behind when the daemon is killed while unpacking', async () => {
    const image = freshImage(60_000_000);
    const pulling = failure(pull(suite.clients, registry.add(image)));
    const pid = await waitFor('an unpack process that works', () => unpackingProcess());
    await suite.berthd.daemon.kill9();
    await pulling;
    await waitFor('the unpack process to end', () => !existsSync(`/proc/${pid}`));
    await suite.berthd.daemon.start();
    await reconnected();
    await pull(suite.clients, registry.add(image));
  });

  /** Makes the registry send the first half of a layer and then nothing more. */
  function sendHalf({ digest, size, data }: TestImage['config']): Interception {
    return ({ url }, response) => {
      if (!url?.endsWith(digest)) return false;
      response.writeHead(200, { 'content-length': size });
      response.write(data.subarray(0, size >> 1));
      return true;
    };
  }

  async function halfOf({ digest, size }: TestImage['config']): Promise<void> {
    await waitFor('half of the layer', async () => {
      const { statuses } = await suite.clients.content.listStatuses({});
      return statuses.some(({ ref, offset }) => ref.includes(digest) && Number(offset) === size >> 1);
    });
  }

  /** A channel that met no daemon waits before its next attempt. */
  async function reconnected(): Promise<void> {
    await suite.clients.version.version({}, { waitForReady: true });
  }

  /** A child of the daemon that has changed its root: it is in the middle of a layer. */
  function unpackingProcess(): number | undefined {
    const daemon = suite.berthd.daemon.pid;
    const children = readFileSync(`/proc/${daemon}/task/${daemon}/children`, 'utf8').trim().split(' ').filter(Boolean);
    return children.map(Number).find((pid) => {
      try {
        return readdirSync(`/proc/${pid}/root`).includes('own');
      } catch {
        return false;
      }
    });
  }
});
