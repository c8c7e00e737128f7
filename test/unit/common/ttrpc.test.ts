import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { encodeFrame, type Frame, FrameReader, frameTypes, maxFrameData } from '#common/ttrpc/frame.ts';
import { type CallContext, TtrpcServer } from '#common/ttrpc/server.ts';
import { handleTyped, unary } from '#common/ttrpc/typed.ts';
import { decode, encode } from '#common/wire/codec.ts';

const service = 'test.Echo';

describe('a ttrpc frame reader', () => {
  const frames = [
    encodeFrame(1, frameTypes.request, Buffer.from('one')),
    encodeFrame(3, frameTypes.response, Buffer.alloc(0)),
    encodeFrame(5, frameTypes.data, Buffer.alloc(70_000, 7)),
  ];
  const stream = Buffer.concat(frames);

  it.each([1, 3, 9, 10, 11, 64, 65_536, stream.length])('finds the frames in pieces of %d bytes', (size) => {
    const reader = new FrameReader();
    const found: Frame[] = [];
    for (let at = 0; at < stream.length; at += size) found.push(...reader.push(stream.subarray(at, at + size)));
    expect(found.map(({ streamId, type, data }) => [streamId, type, data.length])).toEqual([
      [1, 1, 3],
      [3, 2, 0],
      [5, 3, 70_000],
    ]);
  });

  it('skips the data of an oversize frame and goes on after it', () => {
    const header = Buffer.alloc(10);
    header.writeUInt32BE(maxFrameData + 1, 0);
    header.writeUInt32BE(7, 4);
    header[8] = frameTypes.request;
    const reader = new FrameReader();
    const found = [header, Buffer.alloc(maxFrameData), Buffer.alloc(1), stream].flatMap((part) => reader.push(part));
    expect(found[0]).toMatchObject({ streamId: 7, oversize: maxFrameData + 1 });
    expect(found.slice(1).map(({ streamId }) => streamId)).toEqual([1, 3, 5]);
  });
});

describe('ttrpc', () => {
  let dir: string;
  let path: string;
  let server: TtrpcServer;
  const clients: TtrpcClient[] = [];
  const sockets: (Socket | Server)[] = [];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'berth-ttrpc-'));
    path = join(dir, 's');
    server = new TtrpcServer();
    server.handle(service, 'Echo', (payload) => payload);
    await server.listen(path);
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const socket of sockets.splice(0)) 'destroy' in socket ? socket.destroy() : socket.close();
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function connect(): Promise<TtrpcClient> {
    const client = await TtrpcClient.connect(path);
    clients.push(client);
    return client;
  }

  it('listens on a socket that only the owner may open', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('answers many calls at once, each with its own answer', async () => {
    const client = await connect();
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, index) => client.call(service, 'Echo', Buffer.from(`call ${index}`))),
    );
    expect(answers.map(String)).toEqual(Array.from({ length: 300 }, (_, index) => `call ${index}`));
  });

  it('answers a fast call while a slow one is under way', async () => {
    let release: (() => void) | undefined;
    server.handle(service, 'Slow', async () => {
      await new Promise<void>((resolve) => (release = resolve));
      return Buffer.from('slow');
    });
    const client = await connect();
    const slow = client.call(service, 'Slow', Buffer.alloc(0));
    expect(String(await client.call(service, 'Echo', Buffer.from('fast')))).toBe('fast');
    release?.();
    expect(String(await slow)).toBe('slow');
  });

  it('carries a payload close to the limit', async () => {
    const payload = Buffer.alloc(maxFrameData - 100, 5);
    const answer = await (await connect()).call(service, 'Echo', payload);
    expect(payload.equals(answer)).toBe(true);
  });

  it('refuses to send a request beyond the limit and stays usable', async () => {
    const client = await connect();
    await expect(client.call(service, 'Echo', Buffer.alloc(maxFrameData))).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
    expect(String(await client.call(service, 'Echo', Buffer.from('on')))).toBe('on');
  });

  it('turns a response beyond the limit into resource_exhausted', async () => {
    server.handle(service, 'Big', () => Buffer.alloc(maxFrameData));
    await expect((await connect()).call(service, 'Big', Buffer.alloc(0))).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
  });

  it.each([
    ['no such method', service, 'Nothing'],
    ['no such service', 'test.Nobody', 'Echo'],
  ])('answers unimplemented when there is %s', async (_, name, method) => {
    await expect((await connect()).call(name, method, Buffer.alloc(0))).rejects.toMatchObject({
      code: 'unimplemented',
      message: `no method ${name}/${method}`,
    });
  });

  it('carries the code and the message of an error', async () => {
    server.handle(service, 'Fail', () => {
      throw new BerthError('not_found', 'no task "a"');
    });
    server.handle(service, 'Crash', async () => {
      throw new TypeError('x is undefined');
    });
    const client = await connect();
    await expect(client.call(service, 'Fail', Buffer.alloc(0))).rejects.toMatchObject({
      code: 'not_found',
      message: 'no task "a"',
    });
    await expect(client.call(service, 'Crash', Buffer.alloc(0))).rejects.toMatchObject({ code: 'unknown' });
  });

  it('carries metadata with several values to a key', async () => {
    server.handle(service, 'Meta', (_, { metadata }) => Buffer.from(JSON.stringify(metadata)));
    const client = await connect();
    const options = { metadata: { 'Containerd-Namespace-Ttrpc': ['a'], many: ['1', '2'] } };
    expect(JSON.parse(String(await client.call(service, 'Meta', Buffer.alloc(0), options)))).toEqual({
      'containerd-namespace-ttrpc': ['a'],
      many: ['1', '2'],
    });
  });

  it('gives typed messages to typed handlers', async () => {
    handleTyped(
      server,
      'containerd.task.v2.Task',
      'State',
      'containerd.task.v2.StateRequest',
      'containerd.task.v2.StateResponse',
      ({ id }) => ({ id, status: 'RUNNING', exitedAt: { seconds: '-62135596800' } }),
    );
    const state = unary(
      await connect(),
      'containerd.task.v2.Task',
      'State',
      'containerd.task.v2.StateRequest',
      'containerd.task.v2.StateResponse',
    );
    expect(await state({ id: 'a' })).toMatchObject({
      id: 'a',
      status: 'RUNNING',
      exitedAt: { seconds: '-62135596800', nanos: 0 },
    });
  });

  it('answers invalid_argument to a payload that is not the expected message', async () => {
    const type = 'containerd.task.v2.StateRequest';
    handleTyped(server, service, 'Typed', type, type, (request) => request);
    await expect((await connect()).call(service, 'Typed', Buffer.from([0x0a, 9]))).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  describe('deadlines and cancellation', () => {
    let seen: CallContext | undefined;
    let started: Promise<void>;

    beforeEach(() => {
      seen = undefined;
      started = new Promise((resolve) => {
        server.handle(service, 'Hang', (_, context) => {
          seen = context;
          resolve();
          return new Promise(() => undefined);
        });
      });
    });

    it('fails a call with deadline_exceeded after its timeout, and tells the handler', async () => {
      const client = await connect();
      await expect(client.call(service, 'Hang', Buffer.alloc(0), { timeoutMs: 20 })).rejects.toMatchObject({
        code: 'deadline_exceeded',
      });
      await aborted(seen?.signal);
      expect(seen?.signal.reason).toMatchObject({ code: 'deadline_exceeded' });
    });

    it('answers deadline_exceeded itself to a caller that only names a timeout', async () => {
      const [socket, responses] = await rawConnection();
      socket.write(rawRequest(1, 'Hang', 10e6));
      expect(await responses.next()).toMatchObject({ streamId: 1, code: 4 });
    });

    it('fails a call with canceled when the signal aborts, and stays usable', async () => {
      const client = await connect();
      const controller = new AbortController();
      const call = client.call(service, 'Hang', Buffer.alloc(0), { signal: controller.signal });
      await started;
      controller.abort();
      await expect(call).rejects.toMatchObject({ code: 'canceled' });
      await expect(client.call(service, 'Echo', Buffer.alloc(0), { signal: controller.signal })).rejects.toMatchObject({
        code: 'canceled',
      });
      expect(String(await client.call(service, 'Echo', Buffer.from('on')))).toBe('on');
    });

    it('tells a signal that timed out from one that was aborted', async () => {
      const call = (await connect()).call(service, 'Hang', Buffer.alloc(0), { signal: AbortSignal.timeout(10) });
      await expect(call).rejects.toMatchObject({ code: 'deadline_exceeded' });
    });

    it('aborts handlers when their caller goes away', async () => {
      const client = await connect();
      const call = client.call(service, 'Hang', Buffer.alloc(0));
      await started;
      client.close();
      await expect(call).rejects.toMatchObject({ code: 'unavailable' });
      await aborted(seen?.signal);
    });

    it('aborts handlers when the server closes, and fails their calls with unavailable', async () => {
      const call = (await connect()).call(service, 'Hang', Buffer.alloc(0));
      const outcome = expect(call).rejects.toMatchObject({ code: 'unavailable' });
      await started;
      await server.close({ graceMs: 10 });
      expect(seen?.signal.aborted).toBe(true);
      await outcome;
    });
  });

  it('lets a call under way answer before the server closes', async () => {
    let release: (() => void) | undefined;
    const started = new Promise<void>((resolve) => {
      server.handle(service, 'Slow', async () => {
        resolve();
        await new Promise<void>((go) => (release = go));
        return Buffer.from('done');
      });
    });
    const client = await connect();
    const call = client.call(service, 'Slow', Buffer.alloc(0));
    await started;
    const closing = server.close({ graceMs: 10_000 });
    release?.();
    expect(String(await call)).toBe('done');
    await closing;
  });

  it('fails calls under way and later ones with unavailable when the connection closes', async () => {
    const silent = createServer((socket) => socket.once('data', () => socket.destroy()));
    sockets.push(silent);
    const silentPath = join(dir, 'silent');
    await new Promise<void>((resolve) => silent.listen(silentPath, resolve));
    const client = await TtrpcClient.connect(silentPath);
    let closed = 0;
    client.onClose(() => closed++);
    const message = `${service}/Echo: ttrpc connection to ${silentPath} is closed`;
    await expect(client.call(service, 'Echo', Buffer.alloc(0))).rejects.toMatchObject({ code: 'unavailable', message });
    await expect(client.call(service, 'Echo', Buffer.alloc(0))).rejects.toMatchObject({ code: 'unavailable' });
    client.onClose(() => closed++);
    expect(closed).toBe(2);
    expect(client.closed).toBe(true);
  });

  it('fails to connect with unavailable, naming the socket', async () => {
    const missing = join(dir, 'missing');
    await expect(TtrpcClient.connect(missing)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(missing),
    });
  });

  it('fails to listen with unavailable, naming the socket', async () => {
    const taken = join(dir, 'no', 'such', 'folder');
    await expect(new TtrpcServer().listen(taken)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(taken),
    });
  });

  it('refuses even and repeated stream ids, and ignores what it does not know, on a connection that lives on', async () => {
    const [socket, responses] = await rawConnection();
    socket.write(rawRequest(2, 'Echo'));
    expect(await responses.next()).toMatchObject({ streamId: 2, code: 3 });
    socket.write(rawRequest(5, 'Echo'));
    expect(await responses.next()).toMatchObject({ streamId: 5, code: 0 });
    socket.write(rawRequest(5, 'Echo'));
    expect(await responses.next()).toMatchObject({ streamId: 5, code: 3 });
    socket.write(encodeFrame(7, 9, Buffer.from('from the future')));
    socket.write(encodeFrame(7, frameTypes.request, Buffer.from([0xff])));
    expect(await responses.next()).toMatchObject({ streamId: 7, code: 3 });
    socket.write(rawRequest(9, 'Echo'));
    expect(await responses.next()).toMatchObject({ streamId: 9, code: 0 });
  });

  it('answers an oversize request with resource_exhausted and goes on', async () => {
    const [socket, responses] = await rawConnection();
    const oversize = encodeFrame(1, frameTypes.request, Buffer.alloc(maxFrameData + 1));
    socket.write(oversize);
    socket.write(rawRequest(3, 'Echo'));
    expect(await responses.next()).toMatchObject({ streamId: 1, code: 8 });
    expect(await responses.next()).toMatchObject({ streamId: 3, code: 0 });
  });

  /** A connection without our client, and the statuses it receives. */
  async function rawConnection(): Promise<[Socket, { next(): Promise<{ streamId: number; code: number }> }]> {
    const socket = dial(path);
    sockets.push(socket);
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    const reader = new FrameReader();
    const frames: Frame[] = [];
    let wake: (() => void) | undefined;
    socket.on('data', (chunk: Buffer) => {
      frames.push(...reader.push(chunk));
      wake?.();
    });
    const next = async (): Promise<{ streamId: number; code: number }> => {
      while (frames.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const frame = frames.shift() as Frame;
      return { streamId: frame.streamId, code: decode('ttrpc.Response', frame.data).status?.code ?? 0 };
    };
    return [socket, { next }];
  }
});

function rawRequest(streamId: number, method: string, timeoutNano = 0): Buffer {
  return encodeFrame(streamId, frameTypes.request, encode('ttrpc.Request', { service, method, timeoutNano }));
}

async function aborted(signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) throw new Error('the handler was never called');
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
}
