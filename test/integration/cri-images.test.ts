import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Channel, connect } from '#common/grpc/client.ts';
import { createLogger } from '#common/log.ts';
import { importArchive } from '#common/transfer/import-archive.ts';
import { CoreImageService } from '../../apps/cri-shim/images/core-image-service.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, descriptorOf, ociArchive, type TestImage } from '../support/busybox-image.ts';
import { freePort, Registry } from '../support/registry.ts';
import { waitFor } from '../support/wait-for.ts';

const SANDBOX_IMAGE = 'registry.k8s.io/pause:3.10.1';

const suite = useBerthd();
const log = createLogger({ name: 'test', level: 'silent' });
const image = busyboxImage({ user: '1000:1000', labels: { made: 'here' } });
const other = busyboxImage({ user: 'app', env: ['OTHER=1'] });

let registry: Registry;
let reference: string;
let channel: Channel;
let images: CoreImageService;

const credentials = { username: '', password: '', auth: '', serverAddress: '', identityToken: '', registryToken: '' };
const repository = () => reference.slice(0, reference.lastIndexOf(':'));
const byDigest = (pulled: TestImage) => `${repository()}@${pulled.manifest.digest}`;

function newService(servePause = true): CoreImageService {
  return new CoreImageService({
    channel,
    namespace: suite.namespace,
    snapshotter: 'overlayfs',
    hostsDirectory: join(suite.dir, 'certs.d'),
    sandboxImage: SANDBOX_IMAGE,
    servePause,
    log,
  });
}

async function recordNames(): Promise<string[]> {
  const { images: records } = await suite.clients.images.list({});
  return records.map(({ name }) => name).sort();
}

beforeAll(async () => {
  registry = await Registry.start(suite.dir);
  reference = await registry.push(image, 'team/app', 'v1');
  await registry.push(other, 'team/other', 'v1');
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

beforeEach(async () => {
  channel = connect(suite.berthd.socket, { namespace: suite.namespace });
  images = newService();
  await images.start();
});

afterEach(async () => {
  for (const { id } of images.list()) await images.remove(id);
  await images.close();
  channel.close();
});

describe('a pulled image', () => {
  test('has its configuration digest as id, and three names', async () => {
    const id = await images.pull(reference);
    expect(id).toBe(image.config.digest);
    expect(await recordNames()).toEqual([byDigest(image), reference, id].sort());
    const size = [image.manifest, image.config, ...image.layers].reduce((sum, blob) => sum + blob.size, 0);
    expect(images.list()).toEqual([
      {
        id,
        name: reference,
        chainId: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
        config: expect.objectContaining({ os: 'linux' }),
        size: BigInt(size),
        repoTags: [reference],
        repoDigests: [byDigest(image)],
        uid: 1000n,
        username: '',
        pinned: false,
      },
    ]);
  });

  test('is unpacked: a container can be based on it', async () => {
    await images.pull(reference);
    const { chainId } = await images.resolve(reference);
    const { info } = await suite.clients.snapshots.stat({ snapshotter: 'overlayfs', key: chainId });
    expect(info?.kind).toBe('COMMITTED');
  });

  test('is found by tag, digest, id, the beginning of its id, and its manifest', async () => {
    const id = await images.pull(reference);
    const hex = id.slice('sha256:'.length);
    const names = [
      reference,
      byDigest(image),
      `${reference}@${image.manifest.digest}`,
      id,
      hex,
      hex.slice(0, 12),
      image.manifest.digest,
    ];
    for (const name of names) expect(images.find(name)?.id, name).toBe(id);
    expect(images.list(`${repository()}:v2`)).toEqual([]);
    await expect(images.resolve(`${repository()}:v2`)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(`${repository()}:v2`),
    });
  });

  test('by digest has no tag', async () => {
    const id = await images.pull(byDigest(image));
    expect(images.find(id)).toMatchObject({ repoTags: [], repoDigests: [byDigest(image)] });
  });

  test('tells the user name of its configuration', async () => {
    const id = await images.pull(`${registry.host}/team/other:v1`);
    expect(images.find(id)).toMatchObject({ username: 'app' });
    expect(images.find(id)?.uid).toBeUndefined();
  });

  test('is removed with all its names and content, by any of them', async () => {
    const id = await images.pull(reference);
    await images.remove(byDigest(image));
    expect(images.list()).toEqual([]);
    expect(await recordNames()).toEqual([]);
    await expect(suite.clients.content.info({ digest: id })).rejects.toMatchObject({ code: 'not_found' });
    await images.remove(reference);
  });

  test('joins an equal pull under way', async () => {
    const [one, two] = await Promise.all([images.pull(reference), images.pull(reference)]);
    expect(one).toBe(two);
  });

  test('goes on for others when one caller leaves', async () => {
    const leaving = new AbortController();
    const left = images.pull(reference, { signal: leaving.signal });
    const staying = images.pull(reference);
    leaving.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    expect(await staying).toBe(image.config.digest);
  });
});

test('a tag that moved stands for the new image, and the old one keeps its digest', async () => {
  const moving = await registry.push(image, 'team/moving', 'now');
  const first = await images.pull(moving);
  await registry.push(other, 'team/moving', 'now');
  const second = await images.pull(moving);
  expect(second).not.toBe(first);
  expect(images.find(first)).toMatchObject({
    repoTags: [],
    repoDigests: [expect.stringContaining(image.manifest.digest)],
  });
  expect(images.find(second)).toMatchObject({ repoTags: [moving] });
});

test('images of other clients appear and disappear', async () => {
  await images.pull(reference);
  const name = 'docker.io/library/tagged:latest';
  const target = { ...descriptorOf(image.manifest), size: String(image.manifest.size) };
  await suite.clients.images.create({ image: { name, target } });
  await waitFor('the new name', () => images.find('tagged')?.id === image.config.digest);
  await suite.clients.images.delete({ name });
  await waitFor('its removal', () => images.find('tagged') === undefined);
});

test('an image that another client brought without unpacking it is unpacked for its first container', async () => {
  const archive = ociArchive(other, 'docker.io/library/packed:1');
  for (let round = 0; round < 2; round += 1) {
    await importArchive(channel, archive);
    await waitFor('the image', () => images.find('packed:1') !== undefined);
    const { chainId } = await images.resolve('packed:1');
    const { info } = await suite.clients.snapshots.stat({ snapshotter: 'overlayfs', key: chainId });
    expect(info?.kind).toBe('COMMITTED');
    expect((await suite.clients.leases.list({})).leases).toEqual([]);
    await images.remove('packed:1');
  }
});

test('a new service knows the images, also after a restart of berthd', async () => {
  const id = await images.pull(reference);
  await suite.berthd.daemon.restartAfterKill9();
  const next = newService();
  await next.start();
  expect(next.list().map((each) => each.id)).toEqual([id]);
  await next.close();
  await suite.clients.images.create({
    image: { name: 'docker.io/library/late:1', target: { ...descriptorOf(image.manifest), size: '1' } },
  });
  await waitFor('news after the restart', () => images.find('late:1') !== undefined);
});

test('fsInfo and a removal wait for a berthd that is being restarted', async () => {
  await images.pull(reference);
  await suite.berthd.daemon.kill9();
  const asked = Promise.all([images.fsInfo(), images.remove(reference)]);
  await suite.berthd.daemon.start();
  const [{ usedBytes }] = await asked;
  expect(usedBytes).toBeGreaterThan(0n);
  expect(await recordNames()).toEqual([]);
});

test('fsInfo counts the layers and blobs of images, below the snapshotter', async () => {
  const empty = await images.fsInfo();
  await images.pull(reference);
  const full = await images.fsInfo();
  expect(full.mountpoint).toContain(suite.berthd.root);
  expect(full.usedBytes).toBeGreaterThan(empty.usedBytes + 500_000n);
  expect(full.inodesUsed).toBeGreaterThan(empty.inodesUsed);
});

test('the sandbox image comes from the program itself, pinned, and only if it is missing', async () => {
  const built = await images.ensureSandboxImage();
  expect(built).toMatchObject({ pinned: true, repoTags: [SANDBOX_IMAGE], uid: 65535n });
  expect(built.config.config?.Entrypoint).toEqual(['/pause']);
  expect(await images.ensureSandboxImage()).toEqual(built);
  expect(images.find('registry.k8s.io/pause:3.10.1')?.id).toBe(built.id);
});

describe('Kubernetes’ pause image', () => {
  const host = 'registry.invalid:5000';

  test.each(['registry.k8s.io/pause:3.9', `${host}/google_containers/pause:3.10.1`])(
    'is there without a registry, whoever asks: %s',
    async (name) => {
      const built = await images.ensureSandboxImage();
      expect(images.find(name)).toBeUndefined();
      const [id, same] = await Promise.all([images.pull(name), images.pull(name)]);
      expect(same).toBe(id);
      expect(await images.resolve(name)).toMatchObject({ id, config: { config: { Entrypoint: ['/pause'] } } });
      // Once removed it is gone, until somebody asks for it again.
      await images.remove(name);
      expect(images.find(name)).toBeUndefined();
      expect((await images.ensureSandboxImage()).id).toBe(built.id);
    },
  );

  test('is left alone where it is in the store already', async () => {
    const name = 'registry.k8s.io/pause:3.1';
    await images.pull(reference);
    await suite.clients.images.create({ image: { name, target: { ...descriptorOf(image.manifest), size: '1' } } });
    await waitFor('the name to be known', () => images.find(name) !== undefined);
    const id = await images.pull(name);
    expect(images.find(name)?.id).toBe(id);
    expect(id).not.toBe((await images.ensureSandboxImage()).id);
  });

  test('is pulled like any other by digest, and where the configuration says so', async () => {
    const service = newService(false);
    for (const [asked, name] of [
      [images, `${host}/pause:3.9@sha256:${'0'.repeat(64)}`],
      [service, `${host}/pause:3.9`],
    ] as const) {
      await expect(asked.pull(name)).rejects.toThrow('registry.invalid');
    }
  });
});

describe('bad input is refused by name', () => {
  test.each(['busybox/UPPER', 'a b', 'busybox:', 'x@sha256:12', ''])('the reference %j', async (bad) => {
    const refused = { code: 'invalid_argument', message: expect.stringContaining(bad) };
    await expect(images.pull(bad)).rejects.toMatchObject(refused);
    await expect(images.remove(bad)).rejects.toMatchObject(refused);
  });

  test('an image that the registry does not have', async () => {
    const missing = `${registry.host}/team/app:nope`;
    await expect(images.pull(missing)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(missing),
    });
  });

  test('a registry that does not answer', async () => {
    const host = `127.0.0.1:${await freePort()}`;
    await expect(images.pull(`${host}/app:v1`)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(host),
    });
  });
});

describe('a registry that asks for a password', () => {
  let gate: Server;
  let guarded: string;
  let seen: Set<string>;

  beforeEach(async () => {
    seen = new Set();
    gate = createServer((req, res) => {
      const authorization = req.headers.authorization ?? '';
      seen.add(authorization);
      if (authorization !== `Basic ${btoa('user:se:cret')}`) {
        res.writeHead(401, { 'www-authenticate': 'Basic realm="gate"' }).end();
        return;
      }
      const forwarded = request(
        `http://${registry.host}${req.url}`,
        { method: req.method, headers: req.headers },
        (answer) => {
          res.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(res);
        },
      );
      req.pipe(forwarded);
    });
    const port = await freePort();
    await new Promise<void>((resolve) => gate.listen(port, '127.0.0.1', resolve));
    guarded = `127.0.0.1:${port}`;
  });

  afterEach(async () => {
    gate.closeAllConnections();
    await new Promise((resolve) => gate.close(resolve));
  });

  test('gets it, from either form of the credentials', async () => {
    const pairs = [{ username: 'user', password: 'se:cret' }, { auth: btoa('user:se:cret') }];
    for (const pair of pairs) {
      const id = await images.pull(`${guarded}/team/app:v1`, { credentials: { ...credentials, ...pair } });
      expect(id).toBe(image.config.digest);
      await images.remove(id);
    }
  });

  test('does not get what is for another server', async () => {
    const pull = images.pull(`${guarded}/team/app:v1`, {
      credentials: {
        ...credentials,
        username: 'user',
        password: 'se:cret',
        serverAddress: 'https://elsewhere.example/v1/',
      },
    });
    await expect(pull).rejects.toMatchObject({ code: expect.stringMatching(/unauthenticated|permission_denied/) });
    expect([...seen]).toEqual(['']);
  });

  test('refuses a pull without credentials, in words', async () => {
    await expect(images.pull(`${guarded}/team/app:v1`)).rejects.toMatchObject({
      code: expect.stringMatching(/unauthenticated|permission_denied/),
      message: expect.stringContaining(guarded),
    });
  });
});

test('a hosts.toml of the configured folder sends pulls to a mirror', async () => {
  const folder = join(suite.dir, 'certs.d/registry.example.com');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'hosts.toml'), `[host."http://${registry.host}"]\n  capabilities = ["pull", "resolve"]\n`);
  const id = await images.pull('registry.example.com/team/app:v1');
  expect(images.find(id)?.repoTags).toEqual(['registry.example.com/team/app:v1']);
});
