import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Credentials } from '../../../apps/core/registry/credentials.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../apps/core/registry/registry-client.ts';
import type { Blob, TestImage } from '../../support/busybox-image.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';

const RETRY = { attempts: 3, firstDelayMs: 1, maxDelayMs: 5, maxRetryAfterMs: 1000 };
const signal = new AbortController().signal;

let registry: FakeRegistry;
let other: FakeRegistry;
let image: TestImage;
let reference: string;

beforeEach(async () => {
  registry = await FakeRegistry.start();
  other = await FakeRegistry.start();
  image = testImage();
  reference = registry.add(image);
});

afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

function testImage(): TestImage {
  const blob = (mediaType: string, data: Buffer): Blob => ({
    mediaType,
    digest: `sha256:${createHash('sha256').update(data).digest('hex')}`,
    size: data.length,
    data,
  });
  const layer = blob('application/vnd.oci.image.layer.v1.tar', Buffer.from('layer '.repeat(1000)));
  const config = blob('application/vnd.oci.image.config.v1+json', Buffer.from('{}'));
  const manifest = blob('application/vnd.oci.image.manifest.v1+json', Buffer.from('{"schemaVersion":2}'));
  return { layers: [layer], config, manifest };
}

async function open(options: RegistryClientOptions = {}, name = reference): Promise<RegistryClient> {
  return RegistryClient.open(name, { retry: RETRY, ...options });
}

async function resolve(options: RegistryClientOptions = {}, name = reference) {
  using client = await open(options, name);
  return client.resolve(signal);
}

async function readLayer(options: RegistryClientOptions = {}, offset = 0) {
  using client = await open(options);
  const stream = await client.blob(image.layers[0] as Blob, { offset }, signal);
  const pieces: Buffer[] = [];
  for await (const piece of stream.data) pieces.push(piece);
  return { offset: stream.offset, text: Buffer.concat(pieces).toString() };
}

const password = (username: string, text: string) => async (): Promise<Credentials> => ({
  kind: 'password',
  username,
  password: text,
});

describe('RegistryClient', () => {
  it('resolves a tag, and a digest, to a descriptor', async () => {
    const { mediaType, digest, size } = image.manifest;
    expect(await resolve()).toEqual({ mediaType, digest, size });
    expect(await resolve({}, `${registry.host}/test/image@${digest}`)).toEqual({ mediaType, digest, size });
  });

  it('reads the document when the registry does not describe it', async () => {
    registry.intercept = ({ method }, response) => {
      if (method !== 'HEAD') return false;
      response.writeHead(200).end();
      return true;
    };
    expect((await resolve()).digest).toBe(image.manifest.digest);
  });

  it('names the reference and the registry’s reason when an image is missing', async () => {
    const missing = resolve({}, `${registry.host}/test/missing:v1`);
    await expect(missing).rejects.toMatchObject({ code: 'not_found' });
    await expect(missing).rejects.toThrow(`${registry.host}/test/missing:v1`);
  });

  it('names the host when a registry can’t be reached', async () => {
    const { host } = other;
    await other[Symbol.asyncDispose]();
    const unreachable = resolve({}, `${host}/x:1`);
    await expect(unreachable).rejects.toMatchObject({ code: 'unavailable' });
    await expect(unreachable).rejects.toThrow(host);
    other = await FakeRegistry.start();
  });

  it('reads only so much of a document that the registry does not describe (CVE-2023-25153)', async () => {
    registry.intercept = ({ method }, response) =>
      method === 'HEAD' ? Boolean(response.writeHead(200).end()) : endless(response);
    await expect(resolve()).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('reads only so much of what a registry gives as its reason (CVE-2023-25153)', async () => {
    registry.intercept = (_request, response) => endless(response.writeHead(403));
    await expect(readLayer()).rejects.toMatchObject({ code: 'permission_denied' });
  });

  it('refuses schema 1 and things that are no images, by name', async () => {
    const digest = image.config.digest;
    registry.addDocument('application/vnd.docker.distribution.manifest.v1+prettyjws', digest, Buffer.from('{}'), 'old');
    await expect(resolve({}, `${registry.host}/test/image:old`)).rejects.toThrow(/schema 1/);
    registry.addDocument('text/html', digest, Buffer.from('<html>'), 'page');
    await expect(resolve({}, `${registry.host}/test/image:page`)).rejects.toThrow(/text\/html/);
  });

  it('asks again after 429, 503 and a broken connection, and gives up in the end', async () => {
    const answers = [429, 503, 0];
    registry.intercept = (request, response) => {
      const status = answers.shift();
      if (status === undefined) return false;
      if (status === 0) request.socket.destroy();
      else response.writeHead(status, { 'retry-after': '0' }).end();
      return true;
    };
    expect((await resolve({ retry: { ...RETRY, attempts: 4 } })).digest).toBe(image.manifest.digest);
    registry.intercept = (_request, response) => Boolean(response.writeHead(500).end());
    await expect(resolve()).rejects.toMatchObject({ code: 'unavailable' });
  });

  describe('reading a blob', () => {
    const text = 'layer '.repeat(1000);

    it('begins where it is told to', async () => {
      expect(await readLayer({}, 100)).toEqual({ offset: 100, text: text.slice(100) });
    });

    it('says that it begins at 0 when the registry knows no ranges, or has nothing at the offset', async () => {
      registry.intercept = (request) => void delete request.headers.range;
      expect(await readLayer({}, 100)).toEqual({ offset: 0, text });
      registry.intercept = (request, response) => {
        if (request.headers.range === undefined) return false;
        response.writeHead(416).end();
        return true;
      };
      expect(await readLayer({}, 100)).toEqual({ offset: 0, text });
    });

    it('follows a redirect, but tells the other host nothing about who we are (CVE-2020-15157)', async () => {
      other.add(image);
      registry.intercept = (request, response) => {
        if (request.headers.authorization !== basic('user', 'secret')) {
          response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
        } else
          response.writeHead(307, { location: `http://${other.host}/storage/${image.layers[0]?.digest}?sig=1` }).end();
        return true;
      };
      const headers = { 'x-secret': 'h' };
      expect((await readLayer({ credentials: password('user', 'secret'), headers })).text).toBe(text);
      const [foreign] = other.seen;
      expect(foreign?.headers.authorization).toBeUndefined();
      expect(foreign?.headers['x-secret']).toBeUndefined();
      expect(registry.seen.at(-1)?.headers['x-secret']).toBe('h');
    });

    it('never answers the challenge of a host it was redirected to (CVE-2020-15157)', async () => {
      registry.intercept = (_request, response) =>
        Boolean(response.writeHead(307, { location: `http://${other.host}/steal` }).end());
      other.intercept = (_request, response) =>
        Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="give"' }).end());
      const stolen = readLayer({ credentials: password('user', 'secret') });
      await expect(stolen).rejects.toMatchObject({ code: 'permission_denied' });
      expect(other.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    });

    it('gives up on redirects without end', async () => {
      registry.intercept = ({ url }, response) => Boolean(response.writeHead(302, { location: url }).end());
      await expect(readLayer()).rejects.toThrow(/redirects without end/);
    });
  });

  describe('with a token server', () => {
    let tokens: number;

    beforeEach(() => {
      tokens = 0;
      registry.intercept = (request, response) => {
        if (request.headers.authorization === `Bearer token-${tokens}` && tokens > 0) return false;
        const challenge = `Bearer realm="http://${other.host}/token",service="reg",scope="repository:test/image:pull"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end();
        return true;
      };
      other.intercept = (_request, response) =>
        Boolean(response.end(JSON.stringify({ token: `token-${++tokens}`, expires_in: 300 })));
    });

    it('fetches one token for a scope and uses it for all requests', async () => {
      using client = await open();
      await client.resolve(signal);
      await client.resolve(signal);
      expect(tokens).toBe(1);
      const url = new URL(`http://x${other.seen[0]?.url}`);
      expect(url.searchParams.get('service')).toBe('reg');
      expect(url.searchParams.get('scope')).toBe('repository:test/image:pull');
    });

    it('fetches another token when the registry refuses the one it has', async () => {
      using client = await open();
      await client.resolve(signal);
      tokens++;
      await client.resolve(signal);
      expect(tokens).toBe(3);
    });

    it('fetches one other token for all requests that were refused together', async () => {
      using client = await open();
      await client.resolve(signal);
      const accept = `Bearer token-${++tokens + 1}`;
      registry.intercept = (request, response) => {
        if (request.headers.authorization === accept) return false;
        const challenge = `Bearer realm="http://${other.host}/token",service="reg",scope="repository:test/image:pull"`;
        return Boolean(response.writeHead(401, { 'www-authenticate': challenge }).end());
      };
      await Promise.all(Array.from({ length: 8 }, () => client.resolve(signal)));
      expect(tokens).toBe(3);
    });

    it('sends a password to the token server only, and a refresh token by POST', async () => {
      await resolve({ credentials: password('user', 'secret') });
      expect(other.seen[0]).toMatchObject({ method: 'GET', headers: { authorization: basic('user', 'secret') } });
      expect(registry.seen.some(({ headers }) => headers.authorization?.startsWith('Basic'))).toBe(false);
      await resolve({ credentials: async () => ({ kind: 'refresh', token: 'r' }) });
      expect(other.seen.at(-1)?.method).toBe('POST');
    });

    it('says unauthorized when the token server refuses', async () => {
      other.intercept = (_request, response) => Boolean(response.writeHead(401).end());
      const refused = resolve({ credentials: password('user', 'wrong-secret') });
      await expect(refused).rejects.toMatchObject({ code: 'unauthenticated' });
      await expect(refused).rejects.toThrow(/unauthorized/);
      await expect(refused).rejects.not.toThrow(/wrong-secret/);
    });

    it('reads only so much of what a token server answers (CVE-2023-25153)', async () => {
      other.intercept = (_request, response) => endless(response);
      await expect(resolve()).rejects.toMatchObject({ code: 'resource_exhausted' });
    });

    it('says so when the token server answers with something else', async () => {
      other.intercept = (_request, response) => Boolean(response.end('<html>'));
      await expect(resolve()).rejects.toThrow(/something else than JSON/);
    });
  });

  it('says unauthorized, with the registry’s reason, when credentials are missing or wrong', async () => {
    registry.intercept = (_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' });
      response.end(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }));
      return true;
    };
    await expect(resolve()).rejects.toMatchObject({ code: 'unauthenticated' });
    const refused = resolve({ credentials: password('user', 'wrong') });
    await expect(refused).rejects.toThrow(/unauthorized.*401/);
    await expect(readLayer()).rejects.toThrow(/UNAUTHORIZED: authentication required/);
  });

  it('sends a header that the client gave as it is', async () => {
    registry.intercept = (request, response) => {
      if (request.headers.authorization === 'Custom abc') return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return true;
    };
    const credentials = async (): Promise<Credentials> => ({ kind: 'header', value: 'Custom abc' });
    expect((await resolve({ credentials })).digest).toBe(image.manifest.digest);
  });

  it('stops at once when it is aborted', async () => {
    registry.intercept = () => true;
    const controller = new AbortController();
    using client = await open();
    const resolving = client.resolve(controller.signal);
    controller.abort();
    await expect(resolving).rejects.toMatchObject({ code: 'canceled' });
  });

  describe('with mirrors', () => {
    let dir: string;

    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'berth-hosts-'));
      mkdirSync(join(dir, 'example.com'));
    });

    afterEach(() => rmSync(dir, { recursive: true, force: true }));

    function hosts(text: string): RegistryClientOptions {
      writeFileSync(join(dir, 'example.com/hosts.toml'), text);
      return { hostDir: dir };
    }

    it('asks them in order, tells them which registry is meant, and goes on when one fails', async () => {
      registry.intercept = (_request, response) => Boolean(response.writeHead(500).end());
      other.add(image);
      const options = hosts(`[host."http://${registry.host}"]\n[host."http://${other.host}"]\n`);
      expect((await resolve(options, 'example.com/test/image:latest')).digest).toBe(image.manifest.digest);
      expect(registry.seen.length).toBeGreaterThan(0);
      expect(other.seen[0]?.url).toContain('ns=example.com');
    });

    it('does not let a mirror without the capability resolve a tag', async () => {
      other.add(image);
      const options = hosts(
        `server = "http://${other.host}"\n[host."http://${registry.host}"]\ncapabilities = ["pull"]\n`,
      );
      await resolve(options, 'example.com/test/image:latest');
      expect(registry.seen).toEqual([]);
    });

    it('says which host failed how when none has the image', async () => {
      registry.intercept = (_request, response) => Boolean(response.writeHead(403).end());
      const options = hosts(`server = "http://${other.host}"\n[host."http://${registry.host}"]\n`);
      const failed = resolve(options, 'example.com/test/image:latest');
      await expect(failed).rejects.toMatchObject({ code: 'permission_denied' });
      await expect(failed).rejects.toThrow(registry.host);
      await expect(failed).rejects.toThrow(other.host);
    });

    it('begins with another host for a blob that one of them sent wrong', async () => {
      other.add(image);
      const options = hosts(`server = "http://${other.host}"\n[host."http://${registry.host}"]\n`);
      using client = await RegistryClient.open('example.com/test/image:latest', { retry: RETRY, ...options });
      const [mirror, itself] = [registry, other].map(({ host }) => `http://${host}/v2`) as [string, string];
      const counts = [
        new Map(),
        new Map([[mirror, 1]]),
        new Map([...[mirror, itself].map((url) => [url, 1] as const)]),
      ];
      for (const failures of counts) {
        const stream = await client.blob(image.layers[0] as Blob, { offset: 0 }, signal, failures);
        stream.close();
      }
      expect([registry.seen.length, other.seen.length]).toEqual([2, 1]);
    });

    describe('that speak TLS', () => {
      let secure: FakeRegistry;

      beforeEach(async () => {
        const [key, cert] = [join(dir, 'key.pem'), join(dir, 'example.com/own.crt')];
        const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test';
        const names = ['-addext', 'subjectAltName=IP:127.0.0.1'];
        execFileSync('openssl', [...request.split(' '), ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' });
        secure = await FakeRegistry.start({ key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') });
        secure.add(image);
      });

      afterEach(() => secure[Symbol.asyncDispose]());

      it.each(['ca = "own.crt"', 'skip_verify = true'])('are trusted with %s', async (trust) => {
        const options = hosts(`server = "https://${secure.host}"\n${trust}\n`);
        expect((await resolve(options, 'example.com/test/image:latest')).digest).toBe(image.manifest.digest);
      });

      it('are shown the client’s certificate, and no other host is', async () => {
        const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=client';
        const [key, cert] = [join(dir, 'example.com/c.key'), join(dir, 'example.com/c.cert')];
        execFileSync('openssl', [...request.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
        const own = readFileSync(join(dir, 'example.com/own.crt'), 'utf8');
        const server = { key: readFileSync(join(dir, 'key.pem'), 'utf8'), cert: own, requestCert: true };
        const ca = readFileSync(cert, 'utf8');
        await using strict = await FakeRegistry.start({ ...server, ca, rejectUnauthorized: true });
        strict.add(image);
        const trust = `server = "https://${strict.host}"\nca = "own.crt"\n`;
        const name = 'example.com/test/image:latest';
        expect((await resolve(hosts(`${trust}client = [["c.cert", "c.key"]]\n`), name)).digest).toBe(
          image.manifest.digest,
        );
        await expect(resolve(hosts(trust), name)).rejects.toMatchObject({ code: 'unavailable' });
        // By way of a redirect the same server is another host: it is not shown who we are.
        secure.intercept = ({ url }, response) =>
          Boolean(response.writeHead(307, { location: `https://${strict.host}${url}` }).end());
        const redirected = hosts(`server = "https://${secure.host}"\nca = "own.crt"\nclient = [["c.cert", "c.key"]]\n`);
        await expect(resolve(redirected, name)).rejects.toMatchObject({ code: 'unavailable' });
      });

      it('are refused without, and the message says what to do', async () => {
        const failed = resolve(hosts(`server = "https://${secure.host}"`), 'example.com/test/image:latest');
        await expect(failed).rejects.toMatchObject({ code: 'failed_precondition' });
        await expect(failed).rejects.toThrow(/certificate of 127\.0\.0\.1:[0-9]+ is not trusted.*hosts\.toml/);
      });

      it('are told from those that do not', async () => {
        const failed = resolve(hosts(`server = "https://${registry.host}"`), 'example.com/test/image:latest');
        await expect(failed).rejects.toThrow(/does not speak TLS/);
      });

      it('can’t redirect to a host that does not', async () => {
        secure.intercept = (_request, response) =>
          Boolean(response.writeHead(307, { location: `http://${other.host}/x` }).end());
        const options = hosts(`server = "https://${secure.host}"\nskip_verify = true\n`);
        await expect(resolve(options, 'example.com/test/image:latest')).rejects.toThrow(/which is not TLS/);
        expect(other.seen).toEqual([]);
      });
    });

    it('leaves a mirror that wants to be left alone for long, and does not wait (Retry-After)', async () => {
      registry.intercept = (_request, response) => Boolean(response.writeHead(429, { 'retry-after': '3600' }).end());
      other.add(image);
      const options = hosts(`server = "http://${other.host}"\n[host."http://${registry.host}"]\n`);
      expect((await resolve(options, 'example.com/test/image:latest')).digest).toBe(image.manifest.digest);
      expect(registry.seen).toHaveLength(1);
    });

    it('reads the file again for each pull, and asks each host with the credentials that are its own', async () => {
      other.add(image);
      const table = (user: string, host: string) =>
        `[host."http://${host}"]\n[host."http://${host}".credentials]\nusername = "${user}"\npassword = "p"\n`;
      const refuse = (user: string) => (request: IncomingMessage, response: ServerResponse) => {
        if (request.headers.authorization === basic(user, 'p')) return false;
        return Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end());
      };
      registry.intercept = refuse('one');
      other.intercept = refuse('two');
      const name = 'example.com/test/image:latest';
      await resolve(hosts(table('one', registry.host)), name);
      expect(other.seen).toEqual([]);
      await resolve(hosts(table('two', other.host)), name);
      const sent = [registry, other].map(({ seen }) => seen.map(({ headers }) => headers.authorization));
      expect(sent).toEqual([
        [undefined, basic('one', 'p')],
        [undefined, basic('two', 'p')],
      ]);
      await expect(resolve(hosts(table('three', other.host)), name)).rejects.toThrow(
        `unauthorized: http://${other.host}`,
      );
    });

    it('names the file when it can’t be used', async () => {
      const failed = resolve(hosts('nonsense = 1'), 'example.com/test/image:latest');
      await expect(failed).rejects.toMatchObject({ code: 'failed_precondition' });
      await expect(failed).rejects.toThrow(join(dir, 'example.com/hosts.toml'));
    });
  });
});

/** Sends without end. */
function endless(response: ServerResponse): true {
  const more = setInterval(() => response.write(Buffer.alloc(1024 * 1024)), 1);
  response.on('close', () => clearInterval(more));
  return true;
}

function basic(username: string, text: string): string {
  return `Basic ${Buffer.from(`${username}:${text}`).toString('base64')}`;
}
