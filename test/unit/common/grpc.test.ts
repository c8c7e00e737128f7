import { once } from 'node:events';
import { link, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import http2 from 'node:http2';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Client as GrpcClient, Metadata, type MethodDefinition } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { type Implementation, implement } from '#common/grpc/adapter.ts';
import { type Channel, type Client, connect } from '#common/grpc/client.ts';
import type { CallContext } from '#common/grpc/context.ts';
import { FramedMessage } from '#common/grpc/framed-message.ts';
import { healthService } from '#common/grpc/health.ts';
import { maxMessageBytes } from '#common/grpc/options.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import { GrpcServer } from '#common/grpc/server.ts';
import { createLogger } from '#common/log.ts';
import { encode } from '#common/wire/codec.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { HealthDefinition, HealthHandlers } from '#proto/grpc/health/v1/Health.ts';

type Content = Client<ContentHandlers, ContentDefinition>;
const readResponse = 'containerd.services.content.v1.ReadContentResponse';

type Line = Record<string, unknown>;

let directory: string;
let socket: string;
let server: GrpcServer;
let channel: Channel;
let lines: Line[];

const log = createLogger({
  name: 'test',
  level: 'debug',
  destination: { write: (line: string) => lines.push(JSON.parse(line) as Line) },
});

/** A server with some methods of the Content service, and its client. */
async function serve(implementation: Implementation<ContentHandlers>): Promise<Content> {
  const name = 'containerd.services.content.v1.Content';
  server.add(implement<ContentHandlers>(serviceDefinition(name), implementation, { log }));
  await server.listen(socket);
  return channel.client<ContentHandlers, ContentDefinition>(name);
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-grpc-'));
  socket = join(directory, 'test.sock');
  lines = [];
  server = new GrpcServer();
  channel = connect(socket, { namespace: 'tests' });
});

afterEach(async () => {
  channel.close();
  await server.close(0);
  await rm(directory, { recursive: true, force: true });
});

describe('a unary method', () => {
  test('answers what its handler returns, with 64-bit numbers exact', async () => {
    const content = await serve({ status: ({ ref }) => ({ status: { ref, total: '9007199254740993' } }) });
    const { status } = await content.status({ ref: 'layer' });
    expect(status).toMatchObject({ ref: 'layer', total: '9007199254740993', startedAt: null });
  });

  test('answers the code and message of a BerthError that its handler rejects with', async () => {
    const content = await serve({
      async abort({ ref }) {
        await Promise.resolve();
        throw new BerthError('not_found', `no ingest "${ref}"`);
      },
    });
    await expect(content.abort({ ref: 'x' })).rejects.toMatchObject({ code: 'not_found', message: 'no ingest "x"' });
  });

  test('answers unknown for an error that says nothing, and logs it with its stack', async () => {
    const content = await serve({
      delete: () => {
        throw new TypeError('oops');
      },
    });
    await expect(content.delete({ digest: 'sha256:1' })).rejects.toMatchObject({ code: 'unknown', message: 'oops' });
    await expect.poll(() => lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 'error', ns: 'tests', id: 'sha256:1', err: { type: 'BerthError' } });
  });

  test('answers unimplemented when no handler is given', async () => {
    const content = await serve({});
    await expect(content.info({ digest: 'x' })).rejects.toMatchObject({ code: 'unimplemented' });
  });

  test('sees namespace, lease and deadline of its call', async () => {
    let seen: Partial<CallContext> = {};
    const content = await serve({
      abort: (_, { namespace, lease, deadline, method }) => {
        seen = { namespace, lease, deadline, method };
        return {};
      },
    });
    await content.abort({ ref: 'x' }, { namespace: 'other', lease: 'l1', timeoutMs: 60_000 });
    expect(seen).toEqual({
      namespace: 'other',
      lease: 'l1',
      deadline: expect.any(Date),
      method: '/containerd.services.content.v1.Content/Abort',
    });
  });

  test('takes the first of several namespaces, as a client sends that overrides its own', async () => {
    let seen = '';
    await serve({
      abort: (_, { namespace }) => {
        seen = namespace;
        return {};
      },
    });
    const metadata = new Metadata();
    metadata.add('containerd-namespace', 'first');
    metadata.add('containerd-namespace', 'second');
    const client = new GrpcClient(`unix:${socket}`, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = serviceDefinition('containerd.services.content.v1.Content')
      .Abort as MethodDefinition<object, object>;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { ref: 'x' }, metadata, (error) =>
      error === null ? resolve() : reject(error),
    );
    await promise.finally(() => client.close());
    expect(seen).toBe('first');
  });

  test('fails with failed_precondition when it needs a namespace and the client names none', async () => {
    const content = await serve({ abort: (_, ctx) => ({ [ctx.namespace]: 1 }) });
    await expect(content.abort({ ref: 'x' }, { namespace: '' })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('namespace is required'),
    });
  });

  test('sees its signal fire when the client cancels, and the client fails with its own reason', async () => {
    const reason = Promise.withResolvers<unknown>();
    const started = Promise.withResolvers<void>();
    const content = await serve({
      abort: (_, { signal }) => {
        started.resolve();
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reason.resolve(signal.reason);
            reject(signal.reason);
          });
        });
      },
    });
    const controller = new AbortController();
    const call = content.abort({ ref: 'x' }, { signal: controller.signal });
    await started.promise;
    controller.abort(new BerthError('aborted', 'stop it'));
    await expect(call).rejects.toMatchObject({ code: 'aborted', message: 'stop it' });
    await expect(reason.promise).resolves.toMatchObject({ code: 'canceled' });
  });

  test('is unavailable when the server ends amid the call, which nobody cancelled', async () => {
    const started = Promise.withResolvers<void>();
    const content = await serve({
      abort: () => {
        started.resolve();
        return new Promise(() => undefined);
      },
    });
    const call = content.abort({ ref: 'x' });
    call.catch(() => undefined);
    await started.promise;
    await server.close(0);
    await expect(call).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('sees its signal fire with deadline_exceeded when the deadline passes', async () => {
    const reason = Promise.withResolvers<unknown>();
    const content = await serve({
      abort: (_, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reason.resolve(signal.reason);
            reject(signal.reason);
          });
        }),
    });
    await expect(content.abort({ ref: 'x' }, { timeoutMs: 1000 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    await expect(reason.promise).resolves.toBeInstanceOf(BerthError);
  });

  test('leaves its signal alone once it has answered', async () => {
    const signals: AbortSignal[] = [];
    const content = await serve({
      abort: (_, { signal }) => {
        signals.push(signal);
        return {};
      },
      delete: (_, { signal }) => {
        signals.push(signal);
        throw new BerthError('not_found', 'nothing to delete');
      },
    });
    await content.abort({ ref: 'x' });
    await expect(content.delete({ digest: 'sha256:1' })).rejects.toMatchObject({ code: 'not_found' });
    // The server has seen the end of both by the time that it answers a third.
    await content.abort({ ref: 'y' });
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false]);
  });

  test('tells the client of an answer that is too large, or that is no message', async () => {
    const answers: object[] = [Buffer.alloc(maxMessageBytes + 1), { status: { ref: 17 } }];
    const content = await serve({ status: () => answers.shift() ?? {} });
    await expect(content.status({})).rejects.toMatchObject({ code: 'resource_exhausted' });
    await expect(content.status({})).rejects.toMatchObject({ code: 'internal' });
    answers.push({ status: { ref: 'good' } });
    expect((await content.status({})).status?.ref).toBe('good');
  });

  test('is logged once: a change at info, a read at debug, a refused change at warn', async () => {
    const content = await serve({
      abort: ({ ref }) => {
        if (ref === 'bad') throw new BerthError('invalid_argument', 'bad ref');
        return {};
      },
      info: () => ({}),
    });
    await content.abort({ ref: 'good' });
    await content.info({ digest: 'd' });
    await content.abort({ ref: 'bad' }).catch(() => undefined);
    await expect
      .poll(() => lines.map(({ level, id }) => [level, id]))
      .toEqual([
        ['info', 'good'],
        ['debug', 'd'],
        ['warn', 'bad'],
      ]);
  });
});

test('a client may send a whole piece of content before it hears that the server has read it', async () => {
  await serve({});
  const session = http2.connect('http://localhost', { createConnection: () => createConnection(socket) });
  await expect.poll(() => session.state.remoteWindowSize).toBeGreaterThan(1 << 20);
  expect(session.remoteSettings.initialWindowSize).toBe(1 << 20);
  session.close();
});

describe('a server stream', () => {
  test('sends framed messages as they are, out of one buffer that is used again whenever one has left', async () => {
    const content = await serve({
      async *read() {
        const buffer = Buffer.alloc(300_000);
        for (let offset = 0; offset < 20; offset++) {
          const length = encode(readResponse, { offset, data: Buffer.alloc(200_000, offset) }).copy(buffer, prefix);
          const { promise, resolve } = Promise.withResolvers<void>();
          yield new FramedMessage(buffer.subarray(0, prefix + length), resolve);
          await promise;
        }
      },
    });
    const { prefixBytes: prefix } = FramedMessage;
    const pieces = await Array.fromAsync(content.read({ digest: 'x' }));
    expect(pieces.map(({ offset }) => Number(offset))).toEqual(Array.from({ length: 20 }, (_, index) => index));
    for (const { offset, data } of pieces) expect(data.equals(Buffer.alloc(200_000, Number(offset)))).toBe(true);
  });

  test('sends what its generator yields and then the error that it throws', async () => {
    const content = await serve({
      async *read({ size }) {
        for (let n = 0; n < Number(size); n++) yield { offset: n, data: Buffer.from([n]) };
        throw new BerthError('data_loss', 'torn');
      },
    });
    const received: number[] = [];
    const read = (async () => {
      for await (const { data } of content.read({ size: 40 })) received.push(...data);
    })();
    await expect(read).rejects.toMatchObject({ code: 'data_loss', message: 'torn' });
    expect(received).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });

  test.each([
    [
      'asynchronous',
      async function* (data: Iterable<object>) {
        yield* data;
      },
    ],
    ['immediate', (data: Iterable<object>) => data],
  ])('stops producing while the client does not read, an %s source', async (_kind, sourceOf) => {
    let produced = 0;
    const total = 400;
    function* datas() {
      for (; produced < total; produced++) yield { data: Buffer.alloc(64 * 1024) };
    }
    const content = await serve({ read: () => sourceOf(datas()) });
    const stream = content.read({});
    await stream.next();
    const seen: number[] = [];
    // Two equal readings in a row: the producer stands still.
    await expect.poll(() => seen.push(produced) > 1 && seen.at(-1) === seen.at(-2), { interval: 100 }).toBe(true);
    expect(produced).toBeLessThan(total);
    let received = 1;
    for await (const _ of stream) received++;
    expect(received).toBe(total);
  });

  test.each<[string, (size: number) => { data: Buffer } | Buffer]>([
    ['encoded by grpc-js', (size: number) => ({ data: Buffer.alloc(size) })],
    ['encoded already', (size: number) => Buffer.from(encode(readResponse, { data: Buffer.alloc(size) }))],
  ])('sends messages of all sizes that are at hand at once, %s', async (_kind, messageOf) => {
    const sizes = [1, 2, 100_000, 3, 1_000_000, 4, 0, 70_000, 5, 70_000, 70_000, 6];
    const content = await serve({ read: () => sizes.map(messageOf) });
    const received: number[] = [];
    for await (const { data } of content.read({})) received.push(data.length);
    expect(received).toEqual(sizes);
  });

  test('sends messages that are at hand at once in one frame', async () => {
    await serve({ read: () => Array.from({ length: 16 }, () => ({ offset: 1 })) });
    const session = http2.connect('http://localhost', { createConnection: () => createConnection(socket) });
    const headers = { 'content-type': 'application/grpc', te: 'trailers' };
    const path = '/containerd.services.content.v1.Content/Read';
    const stream = session.request({ ...headers, ':method': 'POST', ':path': path });
    stream.end(Buffer.alloc(5));
    const frames: Buffer[] = [];
    for await (const frame of stream) frames.push(frame as Buffer);
    session.close();
    expect(Buffer.concat(frames).length).toBe(16 * (5 + 2));
    expect(frames.length).toBe(1);
  });

  test('tells of a deadline that passed while the client did not read, behind the message under way', async () => {
    function* endless() {
      for (;;) yield { data: Buffer.alloc(100_000) };
    }
    await serve({ read: endless });
    const session = http2.connect('http://localhost', { createConnection: () => createConnection(socket) });
    const headers = { 'content-type': 'application/grpc', te: 'trailers', 'grpc-timeout': '100m' };
    const path = '/containerd.services.content.v1.Content/Read';
    const stream = session.request({ ...headers, ':method': 'POST', ':path': path });
    stream.end(Buffer.alloc(5));
    const trailers = once(stream, 'trailers');
    await sleep(200);
    stream.resume();
    const [told] = await trailers;
    expect(told).toMatchObject({ 'grpc-status': '4' });
    session.close();
  });

  test('fails with internal when a message cannot be encoded, after those before it', async () => {
    const content = await serve({ read: () => [{ offset: 1 }, { offset: 'no number' }] });
    const stream = content.read({});
    await expect(stream.next()).resolves.toMatchObject({ value: { offset: '1' } });
    await expect(stream.next()).rejects.toMatchObject({ code: 'internal' });
  });

  test('tells the client of a message that is too large, after those before it and without those behind', async () => {
    const sizes = [1, 2, 3, maxMessageBytes + 1, 4, 5, 6];
    const content = await serve({ read: () => sizes.map((size) => ({ data: Buffer.alloc(size) })) });
    const received: number[] = [];
    const read = (async () => {
      for await (const { data } of content.read({})) received.push(data.length);
    })();
    await expect(read).rejects.toMatchObject({ code: 'resource_exhausted' });
    expect(received).toEqual([1, 2, 3]);
  });

  test('ends an immediate source when the client leaves the loop', async () => {
    const ended = Promise.withResolvers<string>();
    function* datas() {
      try {
        for (;;) yield { data: Buffer.alloc(64 * 1024) };
      } finally {
        ended.resolve('ended');
      }
    }
    const content = await serve({ read: datas });
    for await (const _ of content.read({})) break;
    await expect(ended.promise).resolves.toBe('ended');
  });

  test('ends its generator when the client leaves the loop', async () => {
    const ended = Promise.withResolvers<string>();
    const content = await serve({
      async *read(_, { signal }) {
        try {
          yield { offset: 1 };
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        } finally {
          ended.resolve('ended');
        }
      },
    });
    for await (const _ of content.read({})) break;
    await expect(ended.promise).resolves.toBe('ended');
  });

  test('fails instead of crashing when nobody has begun to iterate', async () => {
    const stream = connectNowhere().read({});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(stream.next()).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a call whose signal has fired already', () => {
  const options = { signal: AbortSignal.abort(new BerthError('aborted', 'too late')) };

  test('fails with the reason and never reaches the server', async () => {
    const called: string[] = [];
    const content = await serve({
      info: () => ({ info: { digest: called.push('info').toString() } }),
      read: () => failing(new BerthError('internal', called.push('read').toString())),
      write: () => failing(new BerthError('internal', called.push('write').toString())),
    });
    await expect(content.info({}, options)).rejects.toMatchObject({ code: 'aborted' });
    await expect(content.read({}, options).next()).rejects.toMatchObject({ code: 'aborted' });
    const both = content.write(options);
    await expect(both.send({})).rejects.toMatchObject({ code: 'aborted' });
    await expect(both[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'aborted' });
    await content.info({});
    expect(called).toEqual(['info']);
  });
});

describe('a stream both ways', () => {
  test('answers each message as it comes and ends when the client ends', async () => {
    const content = await serve({
      async *write(requests) {
        let offset = 0;
        for await (const { data } of requests) {
          offset += data.length;
          yield { offset };
        }
      },
    });
    const call = content.write();
    const offsets: string[] = [];
    await call.send({ data: Buffer.from('abc') });
    await call.send({ data: Buffer.from('de') });
    call.end();
    for await (const { offset } of call) offsets.push(offset);
    expect(offsets).toEqual(['3', '5']);
  });

  test('rejects what is sent after the server has ended it', async () => {
    const content = await serve({
      write: () => failing(new BerthError('already_exists', 'have it')),
    });
    const call = content.write();
    await expect(call[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'already_exists' });
    await expect(call.send({})).rejects.toMatchObject({ code: 'already_exists' });
  });
});

describe('a socket', () => {
  test('has mode 0600 and is gone after close', async () => {
    await server.listen(socket);
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['test.sock']);
    await server.close(0);
    await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('left behind by a dead process is replaced', async () => {
    const { abandoned } = await abandonedSocket(socket);
    expect(abandoned).toBe(true);
    await server.listen(socket);
    await channel.waitReady(5000);
  });

  test('that a live process serves is refused and left alone', async () => {
    await server.listen(socket);
    const second = new GrpcServer();
    await expect(second.listen(socket)).rejects.toMatchObject({
      code: 'already_exists',
      message: expect.stringContaining(socket),
    });
    await second.close(0);
    await channel.waitReady(5000);
  });

  test('with a path too long for the kernel is refused with the limit', async () => {
    await expect(server.listen(join(directory, 'x'.repeat(120)))).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('107'),
    });
  });
});

describe('a channel', () => {
  test('says which socket has no server', async () => {
    await expect(channel.waitReady(50)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(socket),
    });
  });

  test('finds its server again after a restart', async () => {
    const content = await serve({ info: () => ({}) });
    await content.info({});
    await server.close(0);
    server = new GrpcServer();
    await serve({ info: () => ({}) });
    await content.info({}, { waitForReady: true, timeoutMs: 10_000 });
  });
});

describe('the health service', () => {
  test('says that the server serves, and knows of nothing else', async () => {
    server.add(healthService(log));
    await server.listen(socket);
    const client = channel.client<HealthHandlers, HealthDefinition>('grpc.health.v1.Health');
    await expect(client.check({})).resolves.toEqual({ status: 'SERVING' });
    await expect(client.check({ service: 'x' })).rejects.toMatchObject({ code: 'not_found' });
    for await (const { status } of client.watch({})) {
      expect(status).toBe('SERVING');
      break;
    }
    expect((await client.watch({ service: 'x' }).next()).value).toEqual({ status: 'SERVICE_UNKNOWN' });
  });
});

/** A stream that fails before its first item. */
function failing(error: BerthError): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
}

function connectNowhere(): Content {
  return channel.client<ContentHandlers, ContentDefinition>('containerd.services.content.v1.Content');
}

/** A socket file with no listener: bound by a server whose file was linked elsewhere before it closed. */
async function abandonedSocket(path: string): Promise<{ abandoned: boolean }> {
  const temporary = `${path}.old`;
  const listener: Server = createServer();
  await new Promise<void>((resolve) => listener.listen(temporary, resolve));
  await link(temporary, path);
  await new Promise((resolve) => listener.close(resolve));
  return { abandoned: (await stat(path)).isSocket() };
}
