import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RegistryClientOptions } from '../../../apps/core/registry/registry-client.ts';
import { type BlobUpload, RegistryPusher } from '../../../apps/core/registry/registry-pusher.ts';
import { digestOf } from '../../support/busybox-image.ts';
import { FakeRegistry, type Interception } from '../../support/fake-registry.ts';

const RETRY = { attempts: 3, firstDelayMs: 1, maxDelayMs: 5, maxRetryAfterMs: 1000 };
const signal = new AbortController().signal;
/** More than two pieces of those that are sent to registries which take nothing larger. */
const data = Buffer.alloc(20 * 1024 * 1024, 'some bytes ');
const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: digestOf(data), size: data.length };

let registry: FakeRegistry;
let other: FakeRegistry;

beforeEach(async () => {
  registry = await FakeRegistry.start();
  other = await FakeRegistry.start();
});

afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

async function open(options: RegistryClientOptions = {}): Promise<RegistryPusher> {
  return RegistryPusher.open(`${registry.host}/test/image:v1`, { retry: RETRY, ...options });
}

async function upload(options: RegistryClientOptions = {}, wishes: Partial<BlobUpload> = {}) {
  using pusher = await open(options);
  const read = async function* (offset: number, length = data.length): AsyncGenerator<Buffer> {
    const end = Math.min(data.length, offset + length);
    for (let at = offset; at < end; at += 1 << 20) yield data.subarray(at, Math.min(end, at + (1 << 20)));
  };
  return await pusher.upload({ descriptor, mountFrom: undefined, read, signal, ...wishes });
}

/** Methods of what was asked of the registry. */
const methods = (): string[] => registry.seen.map(({ method }) => method);

/** Answers the first request of a method by itself. */
function once(method: string, answer: Interception): Interception {
  let done = false;
  return (request, response) => {
    if (done || request.method !== method) return false;
    done = true;
    return answer(request, response);
  };
}

describe('RegistryPusher', () => {
  it('sends a blob whole, and tells how far it is', async () => {
    const told: number[] = [];
    expect(await upload({}, { onProgress: (offset) => told.push(offset) })).toBe('uploaded');
    expect(registry.stored(descriptor.digest)?.equals(data)).toBe(true);
    expect(methods()).toEqual(['POST', 'PUT']);
    expect(registry.seen[1]?.headers['content-length']).toBe(String(data.length));
    expect([told[0], told.at(-1)]).toEqual([0, data.length]);
    using pusher = await open();
    expect(await pusher.hasBlob(descriptor, signal)).toBe(true);
    expect(await pusher.hasBlob({ ...descriptor, digest: digestOf(Buffer.alloc(1)) }, signal)).toBe(false);
  });

  it('borrows a blob from another repository where it may, and sends it where it may not', async () => {
    registry.intercept = once('POST', ({ url = '' }, response) => {
      expect(url).toBe(`/v2/test/image/blobs/uploads/?mount=${encodeURIComponent(descriptor.digest)}&from=from%2Fhere`);
      response.writeHead(201).end();
      return true;
    });
    expect(await upload({}, { mountFrom: 'from/here' })).toBe('mounted');
    expect(methods()).toEqual(['POST']);
    registry.intercept = once('POST', (_, response) => response.writeHead(403).end() !== undefined);
    expect(await upload({}, { mountFrom: 'from/here' })).toBe('uploaded');
    registry.intercept = () => false;
    expect(await upload({}, { mountFrom: 'not/there' })).toBe('uploaded');
  });

  it('sends in pieces what the registry finds too large', async () => {
    registry.intercept = once('PUT', (request, response) => {
      response.writeHead(413, { connection: 'close' }).end();
      request.resume();
      return true;
    });
    expect(await upload()).toBe('uploaded');
    expect(registry.stored(descriptor.digest)?.equals(data)).toBe(true);
    expect(methods()).toEqual(['POST', 'PUT', 'POST', 'PATCH', 'PATCH', 'PATCH', 'PUT']);
    const ranges = registry.seen.map(({ headers }) => headers['content-range']).filter(Boolean);
    expect(ranges).toEqual(['0-8388607', '8388608-16777215', `16777216-${data.length - 1}`]);
  });

  it('begins anew after a broken connection and an overloaded registry', async () => {
    registry.intercept = once('PUT', (request) => {
      request.once('data', () => request.destroy());
      return true;
    });
    expect(await upload()).toBe('uploaded');
    registry.intercept = once('PUT', (request, response) => {
      response.writeHead(503).end();
      request.resume();
      return true;
    });
    expect(await upload()).toBe('uploaded');
  });

  it('takes a refusal before the last byte for an answer', async () => {
    registry.intercept = ({ method }, response) => {
      if (method !== 'PUT') return false;
      const errors = [{ code: 'DENIED', message: 'quota exceeded' }];
      response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ errors }));
      return true;
    };
    await expect(upload()).rejects.toMatchObject({
      code: 'permission_denied',
      message: expect.stringMatching(/test\/image:v1: forbidden: .* answered 403 \(DENIED: quota exceeded\)/),
    });
  });

  it('says so when the registry keeps something else, or doesn’t say where to go on', async () => {
    registry.intercept = once('PUT', (request, response) => {
      request.resume().once('end', () => response.writeHead(201, { 'docker-content-digest': 'sha256:0' }).end());
      return true;
    });
    await expect(upload()).rejects.toMatchObject({ code: 'data_loss' });
    registry.intercept = ({ method }, response) => method === 'POST' && response.writeHead(202).end() !== undefined;
    await expect(upload()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('where to go on'),
    });
  });

  it('sends manifests under their digest or a tag', async () => {
    using pusher = await open();
    const bytes = Buffer.from('{"schemaVersion":2}');
    const manifest = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(bytes), size: 19 };
    expect(await pusher.hasManifest(manifest, 'v1', signal)).toBe(false);
    await pusher.putManifest(manifest, bytes, 'v1', signal);
    expect(registry.stored('v1')).toEqual(bytes);
    expect(registry.seen.at(-1)?.headers['content-type']).toBe(manifest.mediaType);
    expect(await pusher.hasManifest(manifest, 'v1', signal)).toBe(true);
    expect(await pusher.hasManifest(manifest, undefined, signal)).toBe(true);
    const moved = Buffer.from('{"schemaVersion":2,"config":{}}');
    expect(await pusher.hasManifest({ ...manifest, digest: digestOf(moved) }, 'v1', signal)).toBe(false);
  });

  it('asks for a token that may push here and pull there, and keeps both from other hosts', async () => {
    const scopes: string[][] = [];
    other.intercept = ({ url = '', method }, response) => {
      if (!url.startsWith('/token')) return method === 'PUT' && response.writeHead(201).end() !== undefined;
      scopes.push(new URL(url, 'http://x').searchParams.getAll('scope'));
      response.writeHead(200).end(JSON.stringify({ token: `token-${scopes.length}` }));
      return true;
    };
    registry.intercept = ({ headers, url = '' }, response) => {
      const from = url.includes('from=') ? ' repository:from/here:pull' : '';
      const scope = `repository:test/image:pull,push${from}`;
      const needed = scopes.findIndex((list) => list.join(' ') === scope) + 1;
      if (needed > 0 && headers.authorization === `Bearer token-${needed}`) {
        response.writeHead(202, { location: `http://${other.host}/somewhere/else` }).end();
      } else {
        const challenge = `Bearer realm="http://${other.host}/token",service="reg",scope="${scope}"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end();
      }
      return true;
    };
    const credentials = async () => ({ kind: 'password', username: 'me', password: 'secret' }) as const;
    expect(await upload({ credentials }, { mountFrom: 'from/here' })).toBe('uploaded');
    expect(scopes).toEqual([['repository:test/image:pull,push', 'repository:from/here:pull']]);
    const [sent] = other.requestsFor('/somewhere/else');
    expect(sent?.headers.authorization).toBeUndefined();
  });

  describe('with a hosts.toml', () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'berth-hosts-'));
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    function hostsFile(text: string): RegistryClientOptions {
      const folder = join(dir, registry.host.replace(':', '_').concat('_'));
      mkdirSync(folder);
      writeFileSync(join(folder, 'hosts.toml'), text);
      return { hostDir: dir };
    }

    it('pushes to the first host that may be pushed to', async () => {
      const options = hostsFile(
        `[host."http://127.0.0.1:1"]\ncapabilities = ["pull"]\n[host."http://${other.host}"]\ncapabilities = ["push"]\n`,
      );
      expect(await upload(options)).toBe('uploaded');
      expect(other.stored(descriptor.digest)?.equals(data)).toBe(true);
      expect(other.seen[0]?.url).toContain(`ns=${encodeURIComponent(registry.host)}`);
      expect(registry.seen).toEqual([]);
    });

    it('says so when there is none', async () => {
      const options = hostsFile('capabilities = ["pull", "resolve"]\n');
      await expect(upload(options)).rejects.toMatchObject({
        code: 'failed_precondition',
        message: expect.stringContaining('has the capability "push"'),
      });
    });
  });

  it('stops at once when it is aborted', async () => {
    const controller = new AbortController();
    registry.intercept = ({ method }) => {
      if (method === 'PUT') controller.abort();
      return method === 'PUT';
    };
    await expect(upload({}, { signal: controller.signal })).rejects.toMatchObject({ code: 'canceled' });
  });
});
