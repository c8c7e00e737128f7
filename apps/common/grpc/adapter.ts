import type * as grpc from '@grpc/grpc-js';
import { BerthError } from '../errors.ts';
import { statusOfCode } from '../grpc-status.ts';
import type { Logger } from '../log.ts';
import { tracing } from '../tracing/tracing.ts';
import { logCall } from './call-log.ts';
import { type CallContext, type CallStatus, ServerCallContext } from './context.ts';
import { type EndedCall, endedCalls } from './ended-calls.ts';
import type { FramedMessage } from './framed-message.ts';
import { MessageWriter } from './message-writer.ts';
import { type HandlerTypes, type KindOf, type MethodName, type MethodsOf, methodName } from './method-types.ts';
import { senderOf } from './sender.ts';

/**
 * What a service's author writes, one function per method, named as on the wire but with a small first letter:
 *
 * - unary: `(req, ctx) => Res | Promise<Res>`
 * - server stream: `(req, ctx) => AsyncIterable<Res>`, or what costs less: an `Iterable` where nothing is waited for, a
 *   {@link Pouring} where items come by themselves
 * - both ways: `(requests, ctx) => AsyncIterable<Res>`
 *
 * `H` is the generated `XHandlers`. A method left out answers UNIMPLEMENTED. What is thrown becomes the status. Wherever
 * there is a `Res`, a Buffer is one that is encoded already; a stream may also have messages that are framed.
 */
export type Implementation<H> = {
  readonly [K in keyof MethodsOf<H> as MethodName<K>]?: Handler<KindOf<H[K]>, HandlerTypes<H[K]>>;
};

type Handler<Kind, Types> = Types extends { req: infer Req; res: infer Res }
  ? Kind extends 'unary'
    ? (req: Req, ctx: CallContext) => Res | Buffer | Promise<Res | Buffer>
    : Kind extends 'serverStream'
      ? (req: Req, ctx: CallContext) => AsyncIterable<Res | Encoded> | Iterable<Res | Encoded> | Pouring<Res | Encoded>
      : (requests: AsyncIterable<Req>, ctx: CallContext) => AsyncIterable<Res | Encoded>
  : never;

type Encoded = Buffer | FramedMessage;

/** A stream that hands over each of its items when there is one. */
export interface Pouring<Item> {
  /**
   * Once `write` has answered false, `room` is to be waited for before the next item. What it rejects with, or what `write`
   * throws, ends the stream. Resolves when the stream is over.
   */
  pour(write: (item: Item) => boolean, room: () => Promise<void>): Promise<void>;
}

/** A service that a {@link GrpcServer} can serve. */
export interface Service {
  readonly definition: grpc.ServiceDefinition;
  readonly handlers: grpc.UntypedServiceImplementation;
}

/**
 * Makes grpc-js handlers of an implementation. This is the only place where the daemons meet grpc-js's callbacks: it
 * catches what handlers throw or reject with (grpc-js doesn't), maps it to a status, logs each call once, and stops a
 * stream whose reader is slow until the reader catches up.
 */
export function implement<H>(
  definition: grpc.ServiceDefinition,
  implementation: Implementation<H>,
  options: { readonly log: Logger },
): Service {
  const handlers: grpc.UntypedServiceImplementation = {};
  const functions = implementation as Readonly<Record<string, AnyHandler | undefined>>;
  for (const [wireName, method] of Object.entries(definition)) {
    const handler = functions[methodName(wireName)]?.bind(implementation);
    if (handler === undefined) continue;
    if (method.requestStream) handlers[wireName] = bidi(handler, options.log);
    else if (method.responseStream) handlers[wireName] = serverStream(handler, options.log);
    else handlers[wireName] = unary(handler, options.log);
  }
  return { definition, handlers };
}

// Implementation<H> has checked the types of the messages; from here on they are opaque.
type AnyHandler = (request: never, ctx: CallContext) => unknown;
type Untyped = (request: unknown, ctx: CallContext) => unknown;

function unary(handler: AnyHandler, log: Logger): grpc.handleUnaryCall<unknown, unknown> {
  return async (call, callback) => {
    const startedAt = performance.now();
    const ctx = new ServerCallContext(call, log);
    let response: unknown;
    let failure: BerthError | undefined;
    try {
      const traced = tracing();
      if (traced === undefined) response = await (handler as Untyped)(call.request, ctx);
      else {
        const answer = async (): Promise<unknown> => await (handler as Untyped)(call.request, ctx);
        response = await traced.served(ctx.method, (name) => headerOf(call.metadata, name), answer);
      }
    } catch (error) {
      failure = BerthError.from(error);
    }
    ctx.answered();
    if (failure === undefined) answer(call, response);
    else callback(statusOf(failure));
    ended('unary', ctx, startedAt, failure);
    logCall(ctx, startedAt, call.request, response, failure);
  };
}

/**
 * Message and status leave together. By itself grpc-js has the status wait until the message has left: for each call a
 * further turn of the event loop and a further system call, here and at the client.
 */
function answer(call: object, response: unknown): void {
  const sender = senderOf(call);
  sender.sendMessage(response, () => undefined);
  // A message that can't be sent has ended the call: then there is no second status.
  sender.sendStatus({ ...ok, metadata: null });
}

function serverStream(handler: AnyHandler, log: Logger): grpc.handleServerStreamingCall<unknown, unknown> {
  return (call) => respond('server_stream', call, call.request, call.request, handler, log);
}

function bidi(handler: AnyHandler, log: Logger): grpc.handleBidiStreamingCall<unknown, unknown> {
  return (call) => respond('bidi_stream', call, undefined, call.iterator({ destroyOnReturn: false }), handler, log);
}

const ok: CallStatus = { code: 0, details: 'OK' };

function headerOf(metadata: grpc.Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === 'string' ? value : undefined;
}

type WritableCall = grpc.ServerWritableStream<unknown, unknown> | grpc.ServerDuplexStream<unknown, unknown>;

async function respond(
  type: EndedCall['type'],
  call: WritableCall,
  logged: unknown,
  input: unknown,
  handler: AnyHandler,
  log: Logger,
): Promise<void> {
  const startedAt = performance.now();
  const ctx = new ServerCallContext(call, log);
  const writer = new MessageWriter(senderOf(call));
  let failure: BerthError | undefined;
  try {
    const items = (handler as Untyped)(input, ctx) as AsyncIterable<unknown> | Iterable<unknown> | Pouring<unknown>;
    if (Symbol.iterator in items) await writeAll(items, writer, ctx.signal);
    else if ('pour' in items) {
      await items.pour(
        (item) => writer.write(item),
        () => writer.room(ctx.signal),
      );
    } else await pump(items, writer, ctx.signal);
  } catch (error) {
    // Whatever the handler made of it, a cancelled call ends as cancelled.
    failure = BerthError.from(ctx.cancelled ? ctx.signal.reason : error);
  }
  if (!ctx.cancelled) writer.end(failure === undefined ? ok : statusOf(failure));
  ended(type, ctx, startedAt, failure);
  logCall(ctx, startedAt, logged, undefined, failure);
}

function ended(
  type: EndedCall['type'],
  { method }: CallContext,
  startedAt: number,
  failure: BerthError | undefined,
): void {
  if (!endedCalls.isWanted) return;
  endedCalls.tell({ method, type, code: failure?.code, seconds: (performance.now() - startedAt) / 1000 });
}

/** As {@link pump}, for items that are at hand: others have their turn whenever the client has enough to read. */
async function writeAll(items: Iterable<unknown>, writer: MessageWriter, signal: AbortSignal): Promise<void> {
  for (const item of items) {
    signal.throwIfAborted();
    if (!writer.write(item)) await writer.room(signal);
  }
}

/** Writes each item, waiting while the client doesn't read; gives up, and tells the source, when the call is over. */
async function pump(items: AsyncIterable<unknown>, writer: MessageWriter, signal: AbortSignal): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  const aborted = onAbort(signal);
  try {
    for (;;) {
      const next = await aborted.orElse(iterator.next());
      if (next.done) return;
      if (!writer.write(next.value)) await writer.room(signal);
    }
  } catch (error) {
    // Not awaited: a generator that waits for its next item ends only when it sees the signal itself.
    void iterator.return?.().catch(() => undefined);
    throw error;
  } finally {
    aborted.dispose();
  }
}

/** Lets many promises, one after another, lose against one signal, with one listener. */
function onAbort(signal: AbortSignal): {
  orElse<T>(promise: Promise<T>): Promise<T>;
  dispose(): void;
} {
  let reject: ((reason: unknown) => void) | undefined;
  const listener = () => reject?.(signal.reason);
  signal.addEventListener('abort', listener);
  return {
    orElse: (promise) =>
      new Promise((resolve, fail) => {
        reject = fail;
        if (signal.aborted) listener();
        promise.then(resolve, fail);
      }),
    dispose: () => signal.removeEventListener('abort', listener),
  };
}

function statusOf(error: BerthError): CallStatus {
  return { code: statusOfCode(error.code), details: error.message };
}
