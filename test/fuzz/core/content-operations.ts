import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode } from '#common/errors.ts';
import type { Bidi } from '#common/grpc/client.ts';
import type { WriteContentRequest } from '#proto/containerd/services/content/v1/WriteContentRequest.ts';
import type { WriteContentResponse__Output } from '#proto/containerd/services/content/v1/WriteContentResponse.ts';
import type { Random } from '../../support/random.ts';
import {
  blob,
  blobs,
  dataOf,
  digest,
  filters,
  keep,
  knownNamespace,
  labels,
  lease,
  mask,
  namespace,
} from './inputs.ts';
import { type Operations, operation } from './operation.ts';
import type { Side } from './side.ts';

interface Message {
  readonly action: 'STAT' | 'WRITE' | 'COMMIT';
  readonly ref: string;
  readonly offset: number;
  readonly total: number;
  readonly expected: string;
  /** Index of a blob, of which the bytes between `from` and `to` are sent. */
  readonly data: number;
  readonly from: number;
  readonly to: number;
  readonly labels: Readonly<Record<string, string>>;
}

interface WriteArgs {
  readonly ns: string;
  readonly lease: string;
  readonly messages: readonly Message[];
  /** How the client ends the stream when the server hasn't. */
  readonly ending: 'end' | 'cancel';
}

function ref(random: Random): string {
  return random.mostly(['r0', 'r1', 'r2', 'r3'], ['', 'a/b', 'r'.repeat(300), 'ä'], 0.06);
}

/**
 * A blob as a decent client writes it: in one piece or in several, now and then with a slip. Who goes on with the ref of
 * another blob doesn't tell a total: containerd would start anew over bytes that it forgets to cut off.
 */
function writeArgs(random: Random): WriteArgs {
  const data = blob(random);
  const { length } = dataOf(data);
  const own = random.chance(0.8);
  const told = random.chance(0.5);
  const base = {
    ref: own ? `r${data}` : ref(random),
    total: own && random.chance(0.5) ? length : 0,
    expected: told ? random.mostly([blobs[data]?.digest ?? ''], [digest(random, 0.6)], 0.15) : '',
    data,
    labels: {},
  };
  const middle = Math.floor(length / 2);
  const messages: Message[] = [];
  if (random.chance(0.4)) messages.push({ ...base, action: 'STAT', offset: 0, from: 0, to: 0 });
  if (random.chance(0.5)) {
    messages.push({ ...base, action: 'WRITE', offset: 0, from: 0, to: middle });
    const offset = random.mostly([middle], [0, middle + 1, length * 2, -1], 0.15);
    messages.push({ ...base, action: 'WRITE', offset, from: middle, to: length });
  } else if (messages.length === 0 || random.chance(0.7)) {
    messages.push({ ...base, action: 'WRITE', offset: 0, from: 0, to: length });
  }
  if (random.chance(0.7)) {
    const offset = random.mostly([length], [0, 1, length + 5], 0.15);
    const total = random.mostly([base.total], [length + 1, -1, 1], 0.1);
    messages.push({ ...base, total, action: 'COMMIT', offset, from: 0, to: 0, labels: labels(random) });
  }
  if (random.chance(0.05)) messages.push({ ...base, ref: 'another', action: 'STAT', offset: 0, from: 0, to: 0 });
  return {
    ns: knownNamespace(random),
    lease: lease(random),
    messages,
    ending: random.mostly(['end'], ['cancel'], 0.15),
  };
}

async function write(side: Side, { ns, lease, messages, ending }: WriteArgs): Promise<unknown> {
  const cancelled = new AbortController();
  const call = side.clients.content.write(side.options({ ns, lease }, { signal: cancelled.signal }));
  const answers: unknown[] = [];
  const receive = receiver(call);
  try {
    for (const message of messages) {
      const { data, from, to, ...rest } = message;
      await call.send({ ...rest, data: dataOf(data).subarray(from, to) } satisfies WriteContentRequest);
      const answer = await receive();
      if (answer === undefined) return { answers, ending: 'the server ended it' };
      answers.push(told(answer));
      if (message.action === 'COMMIT') break;
    }
    if (ending === 'end') {
      call.end();
      // containerd sends its last answer once more, which tells nothing.
      await receive();
      return { answers };
    }
    cancelled.abort(new BerthError('canceled', 'cut off'));
    await untilReleased(side, ns, messages[0]?.ref ?? '');
    return { answers, ending };
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    // A refusal may overtake the message that it refuses: what counts is the status.
    const failure = side.failure(
      await receive().then(
        () => error,
        (status: BerthError) => status,
      ),
    );
    return { answers, code: failure.code };
  }
}

/** What an answer says; containerd leaves the rest of the message as an earlier STAT has filled it. */
function told(answer: WriteContentResponse__Output): Partial<WriteContentResponse__Output> {
  const { action, offset, digest } = answer;
  return action === 'STAT' ? answer : { action, offset, digest };
}

function receiver(call: Bidi<WriteContentRequest, WriteContentResponse__Output>) {
  const iterator = call[Symbol.asyncIterator]();
  return async (): Promise<WriteContentResponse__Output | undefined> => {
    const { value, done } = await iterator.next();
    return done ? undefined : value;
  };
}

/** A server learns a little later that a stream was cut off: until then the ref is in use. */
async function untilReleased(side: Side, ns: string, ref: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const call = side.clients.content.write(side.options({ ns, lease: keep }));
    try {
      await call.send({ action: 'STAT', ref });
      call.end();
      await side.items(call);
      return;
    } catch (error) {
      if (!isCode(error, 'unavailable')) return;
      await sleep(10);
    }
  }
}

export const contentOperations: Operations = {
  'content.write': operation(14, writeArgs, write),
  'content.info': operation(
    3,
    (random) => ({ ns: namespace(random), digest: digest(random) }),
    (side, { digest, ...scope }) => side.clients.content.info({ digest }, side.options(scope)),
  ),
  'content.update': operation(
    4,
    (random) => ({
      ns: namespace(random),
      digest: digest(random),
      labels: labels(random),
      updateMask: mask(random, 'size'),
    }),
    (side, { digest, labels, updateMask, ...scope }) =>
      side.clients.content.update({ info: { digest, labels, size: 7 }, updateMask }, side.options(scope)),
  ),
  'content.list': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, 'digest~=^sha256:e', 'digest') }),
    (side, { filters, ...scope }) => listed(side.clients.content.list({ filters }, side.options(scope))),
  ),
  'content.read': operation(
    6,
    (random) => ({
      ns: namespace(random),
      digest: digest(random),
      offset: random.mostly([0, 0, 1, 5], [11, 12, 4096, 5_000_000, -1, -20], 0.3),
      size: random.mostly([0, 5], [1, 4096, 5_000_000, -1, -30], 0.4),
    }),
    (side, { digest, offset, size, ...scope }) =>
      pieces(side, side.clients.content.read({ digest, offset, size }, side.options(scope))),
  ),
  'content.readCancelled': operation(
    1,
    (random) => ({ ns: 'main', digest: digest(random) }),
    async (side, { digest, ...scope }) => {
      for await (const _ of side.clients.content.read({ digest }, side.options(scope))) return 'began';
      return 'empty';
    },
  ),
  'content.status': operation(
    4,
    (random) => ({ ns: namespace(random), ref: ref(random) }),
    (side, { ref, ...scope }) => side.clients.content.status({ ref }, side.options(scope)),
  ),
  'content.listStatuses': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, 'ref==r1', 'ref~=^r') }),
    async (side, { filters, ...scope }) => {
      const { statuses } = await side.clients.content.listStatuses({ filters }, side.options(scope));
      return statuses.sort((a, b) => (a.ref < b.ref ? -1 : 1));
    },
  ),
  'content.abort': operation(
    3,
    // The lease of the call is the one that containerd takes the ref from; berthd takes it from all.
    (random) => ({ ns: namespace(random), ref: ref(random), lease: keep }),
    (side, { ref, ...scope }) => side.clients.content.abort({ ref }, side.options(scope)),
  ),
  'content.delete': operation(
    2,
    (random) => ({ ns: namespace(random), digest: digest(random) }),
    (side, { digest, ...scope }) => side.clients.content.delete({ digest }, side.options(scope)),
  ),
};

/** However the server cuts a list into messages. */
async function listed(stream: AsyncIterable<{ readonly info: readonly unknown[] }>): Promise<unknown> {
  return (await Array.fromAsync(stream, ({ info }) => info)).flat();
}

/** However the server cuts a blob into messages, and wherever it begins to count; their offsets must follow each other. */
async function pieces(
  side: Side,
  stream: AsyncIterable<{ readonly offset: unknown; readonly data: Buffer }>,
): Promise<unknown> {
  const received = await Array.fromAsync(stream);
  let at = Number(received[0]?.offset ?? 0);
  for (const { offset, data } of received) {
    if (Number(offset) !== at) throw new Error(`${side.name}: a piece at ${offset} follows one that ends at ${at}`);
    at += data.length;
  }
  return Buffer.concat(received.map(({ data }) => data));
}
