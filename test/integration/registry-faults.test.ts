import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BerthError } from '#common/errors.ts';
import { CHUNK } from '../../apps/core/transfer/ranged-blob.ts';
import { type Berthd, startBerthd } from '../support/berthd.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { type Blob, digestOf, type TestImage } from '../support/busybox-image.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { rawImage } from '../support/raw-image.ts';
import { Registry } from '../support/registry.ts';
import { pull, serveCredentials } from '../support/transfers.ts';
import { waitFor } from '../support/wait-for.ts';

const MiB = 1024 * 1024;
const suite = useBerthd();

let registry: FakeRegistry;
let storage: FakeRegistry;
let certs: number;
beforeEach(async () => {
  certs = 0;
  registry = await FakeRegistry.start();
  storage = await FakeRegistry.start();
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await storage[Symbol.asyncDispose]();
});

/** Layers of random bytes; only the fetch is looked at here. */
function image(...sizes: number[]): TestImage {
  return rawImage(sizes.map((size) => randomBytes(size)));
}

function fetchImage(reference: string, resolver = {}, clients = suite.clients) {
  return pull(clients, reference, { unpack: false, resolver });
}

async function failure(promise: Promise<unknown>): Promise<BerthError> {
  return promise.then(
    () => expect.unreachable('it succeeded'),
    (error: BerthError) => error,
  );
}

/** What the store has of a blob is what it should be. */
async function expectStored({ digest, data }: Blob, clients = suite.clients): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const { data } of clients.content.read({ digest })) pieces.push(data);
  expect(Buffer.concat(pieces).equals(data)).toBe(true);
}

/** The directory of a hosts.toml for `registry.test`. */
function hostsFile(text: string): string {
  const dir = join(suite.dir, `certs-${Date.now()}-${++certs}`);
  mkdirSync(join(dir, 'registry.test'), { recursive: true });
  writeFileSync(join(dir, 'registry.test/hosts.toml'), text);
  return dir;
}

const firstLayer = ({ layers }: TestImage): Blob => layers[0] as Blob;

describe('large layers', () => {
  it('come in ranges over several connections from Debian’s docker-registry', async () => {
    await using real = await Registry.start(suite.dir);
    const large = image(20 * MiB + 12_345);
    await fetchImage(await real.push(large, 'faults/large'));
    await expectStored(firstLayer(large));
  });

  it('come whole from a registry that knows no ranges', async () => {
    const large = image(12 * MiB);
    registry.intercept = (request) => void delete request.headers.range;
    await fetchImage(registry.add(large));
    await expectStored(firstLayer(large));
    expect(registry.requestsFor(firstLayer(large).digest)).toHaveLength(1);
  });

  it('get over a connection that is reset at every tenth range, without much sent twice', async () => {
    const large = image(48 * MiB);
    const { digest, data, size } = firstLayer(large);
    let [ranges, sent] = [0, 0];
    registry.intercept = ({ url, headers }, response) => {
      if (!url?.endsWith(digest)) return false;
      const [, from, to] = /^bytes=([0-9]+)-([0-9]+)$/.exec(headers.range ?? '') ?? [];
      if (from === undefined || to === undefined) return false;
      const part = data.subarray(Number(from), Number(to) + 1);
      const content = `bytes ${from}-${to}/${size}`;
      response.writeHead(206, { 'content-length': part.length, 'content-range': content });
      if (++ranges % 10 !== 0) response.end(part);
      else response.write(part.subarray(0, part.length >> 1), () => response.socket?.resetAndDestroy());
      sent += ranges % 10 !== 0 ? part.length : part.length >> 1;
      return true;
    };
    await fetchImage(registry.add(large));
    await expectStored(firstLayer(large));
    expect(ranges).toBeGreaterThan(20);
    expect(sent - size).toBeLessThan(CHUNK);
  });

  it('that are damaged in the middle are fetched once more, and then given up by their digest', async () => {
    const large = image(12 * MiB);
    const { digest, data } = firstLayer(large);
    let damage = 1;
    registry.intercept = ({ url, headers }, response) => {
      const [, from, to] = /^bytes=([0-9]+)-([0-9]+)$/.exec(headers.range ?? '') ?? [];
      if (!url?.endsWith(digest) || Number(from) !== 4 * MiB || damage-- <= 0) return false;
      const part = Buffer.from(data.subarray(Number(from), Number(to) + 1));
      part[77] = (part[77] as number) ^ 1;
      response.writeHead(206, { 'content-length': part.length, 'content-range': `bytes ${from}-${to}/${data.length}` });
      response.end(part);
      return true;
    };
    const reference = registry.add(large);
    await fetchImage(reference);
    await expectStored(firstLayer(large));
    await suite.clients.images.delete({ name: reference, sync: true });
    damage = Number.POSITIVE_INFINITY;
    const error = await failure(fetchImage(reference));
    expect(error).toMatchObject({ code: 'data_loss', message: expect.stringContaining(digest) });
  });

  it('are downloaded once for any number of callers in any namespace', async () => {
    const large = image(12 * MiB);
    const reference = registry.add(large);
    using other = suite.berthd.clients(`${suite.namespace}-other`);
    await Promise.all([
      ...Array.from({ length: 4 }, () => fetchImage(reference)),
      ...Array.from({ length: 4 }, () => fetchImage(reference, {}, other)),
    ]);
    await expectStored(firstLayer(large));
    await expectStored(firstLayer(large), other);
    const ranges = registry.requestsFor(firstLayer(large).digest).map(({ headers }) => headers.range);
    expect(ranges).toHaveLength(new Set(ranges).size);
    await other.images.delete({ name: reference, sync: true });
  });

  it('are no longer asked for when the last caller has left, and gone on with by the next one', async () => {
    const large = image(24 * MiB);
    const { digest } = firstLayer(large);
    const reference = registry.add(large);
    let open = 0;
    let held = true;
    registry.intercept = ({ url }, response) => {
      if (!held || !url?.endsWith(digest) || registry.requestsFor(digest).length <= 2) return false;
      open++;
      response.once('close', () => open--);
      return true;
    };
    const callers = [new AbortController(), new AbortController()];
    const pulls = callers.map(({ signal }) => failure(pull(suite.clients, reference, { unpack: false, signal })));
    await waitFor('requests that are held', () => open > 0);
    await waitFor('the first bytes to be written', async () => {
      const { statuses } = await suite.clients.content.listStatuses({});
      return statuses.some(({ ref, offset }) => ref.includes(digest) && Number(offset) >= 2 * MiB);
    });
    callers[0]?.abort();
    expect(await pulls[0]).toMatchObject({ code: 'canceled' });
    await waitFor('the other caller’s requests', () => open > 0);
    callers[1]?.abort();
    expect(await pulls[1]).toMatchObject({ code: 'canceled' });
    await waitFor('the requests to end', () => open === 0);
    held = false;
    const before = registry.requestsFor(digest).length;
    await fetchImage(reference);
    await expectStored(firstLayer(large));
    const ranges = registry.requestsFor(digest).slice(before);
    expect(ranges.every(({ headers }) => headers.range !== undefined && !/^bytes=0-/.test(headers.range))).toBe(true);
  });
});

describe('a registry', () => {
  it('whose tokens expire in the middle is asked with new ones', async () => {
    const many = image(...Array.from({ length: 12 }, (_, index) => 1000 + index), 12 * MiB);
    // Each token is good for five requests only, whatever its server promises.
    const left = new Map<string, number>();
    storage.intercept = (_request, response) => {
      const token = `t${left.size}`;
      left.set(`Bearer ${token}`, 5);
      return Boolean(response.end(JSON.stringify({ token, expires_in: 3600 })));
    };
    registry.intercept = ({ headers }, response) => {
      const token = headers.authorization ?? '';
      const uses = left.get(token) ?? 0;
      if (uses > 0) {
        left.set(token, uses - 1);
        return false;
      }
      const challenge = `Bearer realm="http://${storage.host}/token",service="s",scope="repository:test/image:pull"`;
      return Boolean(response.writeHead(401, { 'www-authenticate': challenge }).end());
    };
    await using credentials = await serveCredentials(suite.clients, 'me', 'secret');
    await fetchImage(registry.add(many), { authStream: credentials.id });
    for (const layer of many.layers) await expectStored(layer);
    expect(credentials.asked).toEqual([registry.host]);
    expect(storage.seen.length).toBeGreaterThan(3);
  });

  it('that says 429 is asked again when it said so', async () => {
    const small = image(1000);
    const { digest } = firstLayer(small);
    let refusals = 2;
    registry.intercept = ({ url }, response) =>
      url?.endsWith(digest) === true &&
      refusals-- > 0 &&
      Boolean(response.writeHead(429, { 'retry-after': '1' }).end());
    await fetchImage(registry.add(small));
    expect(registry.requestsFor(digest)).toHaveLength(3);
  });

  it('whose bodies are cut short is asked for the rest', async () => {
    const small = image(200_000);
    const { digest, data, size } = firstLayer(small);
    registry.intercept = ({ url, headers }, response) => {
      if (!url?.endsWith(digest) || headers.range !== undefined) return false;
      response.writeHead(200, { 'content-length': size });
      response.write(data.subarray(0, 50_000), () => response.destroy());
      return true;
    };
    await fetchImage(registry.add(small));
    await expectStored(firstLayer(small));
    expect(registry.requestsFor(digest)).toHaveLength(2);
  });

  it('that says a wrong length, too short or too long, is not believed', async () => {
    const short = image(100_000);
    const part = firstLayer(short);
    registry.intercept = ({ url, headers }, response) =>
      url?.endsWith(part.digest) === true &&
      headers.range === undefined &&
      Boolean(response.writeHead(200, { 'content-length': 30_000 }).end(part.data.subarray(0, 30_000)));
    await fetchImage(registry.add(short));
    await expectStored(part);

    const long = image(100_000);
    const { digest, data } = firstLayer(long);
    registry.intercept = ({ url }, response) =>
      url?.endsWith(digest) === true && Boolean(response.end(Buffer.concat([data, Buffer.from('more')])));
    const error = await failure(fetchImage(registry.add(long)));
    expect(error).toMatchObject({
      code: 'data_loss',
      message: expect.stringMatching(/sends more than the 100000 bytes/),
    });
  });

  it('that redirects to another host gets its layers from there, and that host no credentials (CVE-2020-15157)', async () => {
    const large = image(12 * MiB);
    const { digest } = firstLayer(large);
    storage.add(large);
    const login = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    registry.intercept = ({ url, headers }, response) => {
      if (headers.authorization !== login) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
        return true;
      }
      if (!url?.endsWith(digest)) return false;
      response.writeHead(307, { location: `http://${storage.host}/storage/${digest}?signature=s` }).end();
      return true;
    };
    await using credentials = await serveCredentials(suite.clients, 'me', 'secret');
    await fetchImage(registry.add(large), { authStream: credentials.id, headers: { 'x-own': 'secret' } });
    await expectStored(firstLayer(large));
    expect(storage.seen.length).toBeGreaterThan(1);
    for (const { headers } of storage.seen) expect(JSON.stringify(headers)).not.toMatch(/authorization|secret/);
  });

  it('whose storage asks for credentials gets none, and the pull fails (CVE-2020-15157)', async () => {
    const small = image(1000);
    const { digest } = firstLayer(small);
    const realm = `Bearer realm="http://${storage.host}/token",service="s"`;
    storage.intercept = (_request, response) => Boolean(response.writeHead(401, { 'www-authenticate': realm }).end());
    registry.intercept = ({ url }, response) =>
      url?.endsWith(digest) === true &&
      Boolean(response.writeHead(307, { location: `http://${storage.host}/storage/${digest}` }).end());
    await using credentials = await serveCredentials(suite.clients, 'me', 'secret');
    const error = await failure(fetchImage(registry.add(small), { authStream: credentials.id }));
    expect(error).toMatchObject({ code: 'permission_denied' });
    expect(credentials.asked).toEqual([]);
    expect(storage.requestsFor('/token')).toEqual([]);
  });

  it('that speaks TLS with a private CA is trusted by its hosts.toml', async () => {
    const dir = hostsFile('');
    const [key, cert] = [join(suite.dir, 'tls.key'), join(dir, 'registry.test/ca.crt')];
    const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test';
    const names = ['-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync('openssl', [...request.split(' '), ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    await using secure = await FakeRegistry.start({ key: readFileSync(key), cert: readFileSync(cert) });
    const large = image(12 * MiB);
    secure.add(large);
    const toml = join(dir, 'registry.test/hosts.toml');
    writeFileSync(toml, `server = "https://${secure.host}"\n`);
    const name = 'registry.test/test/image:latest';
    const error = await failure(fetchImage(name, { hostDir: dir }));
    expect(error).toMatchObject({ code: 'failed_precondition', message: expect.stringMatching(/is not trusted/) });
    // The file is read again: what it says now holds.
    writeFileSync(toml, `server = "https://${secure.host}"\nca = "ca.crt"\n`);
    await fetchImage(name, { hostDir: dir });
    await expectStored(firstLayer(large));
  });

  it.each([
    ['manifest', 'application/vnd.oci.image.manifest.v1+json'],
    ['index', 'application/vnd.oci.image.index.v1+json'],
  ])('whose %s could also be read as the other is refused (CVE-2021-41190)', async (_what, mediaType) => {
    const { manifest } = image(10);
    const both = Buffer.from(JSON.stringify({ ...JSON.parse(manifest.data.toString()), mediaType, manifests: [] }));
    registry.addDocument(mediaType, digestOf(both), both, 'both');
    const error = await failure(fetchImage(`${registry.host}/test/image:both`));
    expect(error).toMatchObject({ code: 'invalid_argument', message: expect.stringMatching(/it is both an? /) });
  });

  it('that has schema 1 only is refused by name', async () => {
    const old = Buffer.from(JSON.stringify({ schemaVersion: 1, name: 'x', tag: 'y', fsLayers: [], history: [] }));
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    registry.addDocument(type, digestOf(old), old, 'old');
    const error = await failure(fetchImage(`${registry.host}/test/image:old`));
    expect(error).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/schema 1 manifests are not/),
    });
  });

  it('that describes a huge manifest is not even asked for it (CVE-2023-25153)', async () => {
    const { manifest } = image(10);
    registry.intercept = ({ method }, response) => {
      if (method !== 'HEAD') return false;
      const { mediaType, digest } = manifest;
      const headers = { 'content-type': mediaType, 'docker-content-digest': digest, 'content-length': 1e12 };
      return Boolean(response.writeHead(200, headers).end());
    };
    const error = await failure(fetchImage(`${registry.host}/test/image:huge`));
    expect(error).toMatchObject({ code: 'resource_exhausted' });
    expect(registry.seen.map(({ method }) => method)).toEqual(['HEAD']);
  });

  it('with an image of 200 layers', async () => {
    const many = image(...Array.from({ length: 200 }, (_, index) => 500 + index));
    const told = await fetchImage(registry.add(many));
    expect(told.filter(([event, name]) => event === 'complete' && name.startsWith('layer-'))).toHaveLength(200);
    for (const layer of many.layers) expect(registry.requestsFor(layer.digest)).toHaveLength(1);
  });
});

describe('a daemon with deadlines', () => {
  /** One byte now and then. */
  function trickle(digest: string): FakeRegistry['intercept'] {
    return ({ url }, response) => {
      // A mirror is told which registry is meant: there is a query.
      if (!url?.includes(digest)) return false;
      const timer = setInterval(() => response.write('x'), 100);
      response.writeHead(200, { 'content-length': firstSize }).on('close', () => clearInterval(timer));
      return true;
    };
  }
  const firstSize = 300_000;

  async function daemon(settings: string): Promise<AsyncDisposable & { readonly berthd: Berthd }> {
    const dir = join(suite.dir, `daemon-${Date.now()}`);
    mkdirSync(dir);
    const config = join(dir, 'berthd.toml');
    writeFileSync(config, `[registry]\n${settings}\n`);
    const berthd = await startBerthd({ dir, config });
    return { berthd, [Symbol.asyncDispose]: () => berthd.daemon.stop() };
  }

  it('leaves a mirror that trickles for the next host, and doesn’t keep what it sent', async () => {
    await using started = await daemon('stall_timeout = "2s"');
    using clients = started.berthd.clients('faults');
    const small = image(firstSize);
    registry.add(small);
    storage.add(small);
    registry.intercept = trickle(firstLayer(small).digest);
    const hostDir = hostsFile(`server = "http://${storage.host}"\n[host."http://${registry.host}"]\n`);
    await pull(clients, 'registry.test/test/image:latest', { unpack: false, resolver: { hostDir } });
    await expectStored(firstLayer(small), clients);
    expect(storage.requestsFor(firstLayer(small).digest).length).toBeGreaterThan(0);
  });

  it('ends a pull that takes longer than it may, and says how to go on', async () => {
    await using started = await daemon('pull_timeout = "1s"');
    using clients = started.berthd.clients('faults');
    const small = image(firstSize);
    registry.intercept = trickle(firstLayer(small).digest);
    const error = await failure(pull(clients, registry.add(small), { unpack: false }));
    expect(error).toMatchObject({ code: 'deadline_exceeded', message: expect.stringMatching(/pull_timeout/) });
  });

  it('finds credentials in a config.json of Docker, also once it was changed', async () => {
    const docker = join(suite.dir, 'docker-config.json');
    await using started = await daemon(`docker_config = "${docker}"`);
    using clients = started.berthd.clients('faults');
    const login = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    registry.intercept = ({ headers }, response) =>
      headers.authorization !== login &&
      Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end());
    const reference = registry.add(image(1000));
    expect(await failure(pull(clients, reference, { unpack: false }))).toMatchObject({ code: 'unauthenticated' });
    const auth = login.slice('Basic '.length);
    writeFileSync(docker, JSON.stringify({ auths: { [registry.host]: { auth } } }));
    await pull(clients, reference, { unpack: false });
  });
});
