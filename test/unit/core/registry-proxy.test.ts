import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HttpConnections } from '../../../apps/core/registry/http.ts';
import { proxyFor } from '../../../apps/core/registry/proxy.ts';

const PROXY = { HTTP_PROXY: 'http://p:1', HTTPS_PROXY: 'p:2' };

describe('proxyFor', () => {
  it.each([
    ['http://r.example', { HTTP_PROXY: 'http://p:1' }],
    ['https://r.example', { HTTPS_PROXY: 'http://p:2' }],
    ['http://127.0.0.1:5000', undefined],
    ['https://localhost', undefined],
    ['http://[::1]:5000', undefined],
  ])('of %s is %j', (url, expected) => {
    expect(proxyFor(new URL(url), PROXY)).toEqual(expected);
  });

  it('heeds names in small letters first', () => {
    expect(proxyFor(new URL('http://r'), { ...PROXY, http_proxy: 'http://q' })).toEqual({ HTTP_PROXY: 'http://q' });
    expect(proxyFor(new URL('http://r'), { http_proxy: 'http://q', no_proxy: 'r' })).toBeUndefined();
    expect(proxyFor(new URL('https://r'), { HTTP_PROXY: 'http://q' })).toBeUndefined();
  });

  it.each([
    ['*', 'https://r.example', true],
    ['r.example', 'https://r.example', true],
    ['r.example', 'https://sub.R.example:5000', true],
    ['r.example', 'https://other.example', false],
    ['r.example', 'https://bar.example', false],
    ['.r.example', 'https://sub.r.example', true],
    ['.r.example', 'https://r.example', false],
    ['*.r.example', 'https://sub.r.example', true],
    ['r.example:5000', 'https://r.example:5000', true],
    ['r.example:5000', 'https://r.example', false],
    ['r.example:443', 'https://r.example', true],
    ['10.1.2.3', 'http://10.1.2.3:5000', true],
    ['10.0.0.0/8,172.16.0.0/12', 'http://10.9.8.7:5000', true],
    ['10.0.0.0/8', 'http://11.0.0.1', false],
    ['10.0.0.0/8', 'http://10.example', false],
    ['fd00::/8', 'http://[fd00::1]:5000', true],
    ['[fd00::1]:5000', 'http://[fd00::1]:5000', true],
    ['fd00::1', 'http://[fd00::1]:5000', true],
    ['10.0.0.0/nonsense, r.example', 'https://r.example', true],
    [' , ', 'https://r.example', false],
  ])('is none by NO_PROXY=%j for %s: %j', (NO_PROXY, url, direct) => {
    expect(proxyFor(new URL(url), { ...PROXY, NO_PROXY }) === undefined).toBe(direct);
  });
});

describe('a request through a proxy', () => {
  let proxy: Server;
  let asked: string[];
  const before = { ...process.env };

  beforeEach(async () => {
    asked = [];
    proxy = createServer((request, response) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
      response.end('through the proxy');
    });
    proxy.on('connect', (request, socket) => {
      asked.push(`CONNECT ${request.url}`);
      const { port } = proxy.address() as AddressInfo;
      // It leads to itself: what comes is no TLS, which ends the attempt.
      const onward = connect(port, '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
      socket.pipe(onward).pipe(socket);
      socket.on('error', () => onward.destroy());
      onward.on('error', () => socket.destroy());
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const url = `http://me:secret@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    Object.assign(process.env, { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: 'direct.invalid' });
  });

  afterEach(async () => {
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    proxy.closeAllConnections();
    proxy.close();
    await once(proxy, 'close');
  });

  async function get(url: string): Promise<string> {
    using connections = new HttpConnections({});
    const timeouts = { connectMs: 5000, idleMs: 5000 };
    const { signal } = new AbortController();
    const response = await connections.request(new URL(url), { method: 'GET', headers: {}, signal, timeouts });
    return (await Array.fromAsync(response.body as AsyncIterable<Buffer>)).join('');
  }

  it('goes there, with what the proxy wants to know of us', async () => {
    expect(await get('http://registry.invalid/v2/')).toBe('through the proxy');
    const login = Buffer.from('me:secret').toString('base64');
    expect(asked).toEqual([`http://registry.invalid/v2/ Basic ${login}`]);
  });

  it('is a tunnel for TLS, and none for a host that NO_PROXY names', async () => {
    const failed = get('https://registry.invalid/v2/');
    await expect(failed).rejects.toMatchObject({ code: 'unavailable' });
    await expect(failed).rejects.not.toThrow(/secret/);
    expect(asked).toEqual(['CONNECT registry.invalid:443']);
    await expect(get('http://direct.invalid/v2/')).rejects.toThrow(/can't reach http:\/\/direct\.invalid/);
    expect(asked).toHaveLength(1);
  });
});
