import { describe, expect, it } from 'vitest';
import type { WriteContentRequest } from '#proto/containerd/services/content/v1/WriteContentRequest.ts';
import type { WriteContentResponse__Output } from '#proto/containerd/services/content/v1/WriteContentResponse.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { digestOf } from '../support/busybox-image.ts';
import type { CoreClients } from '../support/core-clients.ts';
import { openBlobs } from '../support/open-files.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let refs = 0;
const nextRef = (): string => `ref-${++refs}`;
/** Bytes that no other test writes. */
const nextData = (): Buffer => Buffer.from(`${suite.namespace} data ${++refs}`);

/** A write as a client sees it: a request, its answer, the next request. */
class Conversation {
  readonly #call: ReturnType<CoreClients['content']['write']>;
  readonly #answers: AsyncIterator<WriteContentResponse__Output>;

  constructor(clients: CoreClients, signal?: AbortSignal) {
    this.#call = clients.content.write({ signal });
    this.#answers = this.#call[Symbol.asyncIterator]();
  }

  async say(request: WriteContentRequest): Promise<WriteContentResponse__Output> {
    await this.#call.send(request);
    const { value, done } = await this.#answers.next();
    return done ? expect.unreachable('the write ended without an answer') : value;
  }

  async end(): Promise<void> {
    this.#call.end();
    await this.#answers.next();
  }
}

/** Keeps content from the collector, which may come at any time, until it is looked at. */
const root = { 'containerd.io/gc.root': 'x' };

/** Says everything in turn; answers the last answer. What is committed without labels is a root. */
async function write(...requests: readonly WriteContentRequest[]): Promise<WriteContentResponse__Output> {
  const conversation = new Conversation(suite.clients);
  let answer: WriteContentResponse__Output | undefined;
  for (const request of requests) {
    answer = await conversation.say(request.action === 'COMMIT' ? { labels: root, ...request } : request);
  }
  await conversation.end();
  return answer ?? expect.unreachable('nothing was said');
}

const offsetOf = async (ref: string): Promise<number> =>
  Number((await suite.clients.content.status({ ref })).status?.offset);

async function read(digest: string, offset: number, size: number): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const { data } of suite.clients.content.read({ digest, offset, size })) pieces.push(data as Buffer);
  return Buffer.concat(pieces).toString();
}

describe('a write', () => {
  it('tells where it stands, appends only at its end, and starts over at 0', async () => {
    const ref = nextRef();
    const data = nextData();
    const conversation = new Conversation(suite.clients);
    expect(await conversation.say({ action: 'STAT', ref, total: data.length })).toMatchObject({ offset: '0' });
    const answer = await conversation.say({ action: 'WRITE', data: data.subarray(0, 5) });
    expect(answer).toMatchObject({ action: 'WRITE', offset: '5', digest: digestOf(data.subarray(0, 5)) });
    await expect(conversation.say({ action: 'WRITE', offset: 6, data })).rejects.toMatchObject({
      code: 'out_of_range',
    });

    expect(await write({ action: 'STAT', ref })).toMatchObject({ offset: '5', total: '0' });
    await expect(write({ action: 'WRITE', ref, offset: 3, data })).rejects.toMatchObject({ code: 'out_of_range' });
    expect(await write({ action: 'WRITE', ref, offset: 5, data: data.subarray(5) })).toMatchObject({
      offset: String(data.length),
      digest: digestOf(data),
    });
    expect(await write({ action: 'WRITE', ref, offset: 0, data: data.subarray(0, 3) })).toMatchObject({ offset: '3' });
    expect(await offsetOf(ref)).toBe(3);
    await suite.clients.content.abort({ ref });
    await expect(offsetOf(ref)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('is committed with its last bytes and labels, and may be as long as its total, not longer or shorter', async () => {
    const ref = nextRef();
    const data = nextData();
    const total = data.length + 1;
    await expect(write({ action: 'COMMIT', ref, total, data })).rejects.toMatchObject({ code: 'failed_precondition' });
    expect(await offsetOf(ref)).toBe(data.length);
    const labels = { kept: 'yes', empty: '', ...root };
    await write({ action: 'COMMIT', ref, offset: data.length, data: Buffer.from('!'), labels });
    const digest = digestOf(Buffer.concat([data, Buffer.from('!')]));
    const { info } = await suite.clients.content.info({ digest });
    expect(info).toMatchObject({ size: String(total), labels: { kept: 'yes' } });
    await expect(offsetOf(ref)).rejects.toMatchObject({ code: 'not_found' });
  });

  it.each(['sha256:abcd', `sha512:${'0'.repeat(128)}`, 'nonsense', digestOf(Buffer.alloc(7))])(
    'that is said to become %s and does not is kept for another try',
    async (expected) => {
      const ref = nextRef();
      const data = nextData();
      const wrong: WriteContentRequest = { action: 'COMMIT', ref, expected, data };
      await expect(write(wrong)).rejects.toMatchObject({
        code: 'failed_precondition',
        message: expect.stringMatching(/unexpected commit digest/),
      });
      expect(await offsetOf(ref)).toBe(data.length);
      await write({ action: 'COMMIT', ref, offset: data.length, expected: digestOf(data) });
    },
  );

  it('of what is there already ends at once, or when it is told what it is to be, and leaves nothing', async () => {
    const data = nextData();
    const expected = digestOf(data);
    await write({ action: 'COMMIT', ref: nextRef(), data });
    const ref = nextRef();
    await expect(write({ action: 'STAT', ref, expected })).rejects.toMatchObject({ code: 'already_exists' });
    const late: WriteContentRequest[] = [
      { action: 'WRITE', ref, data },
      { action: 'COMMIT', offset: data.length, expected },
    ];
    await expect(write(...late)).rejects.toMatchObject({ code: 'already_exists' });
    const unknowing: WriteContentRequest[] = [
      { action: 'WRITE', ref, data },
      { action: 'COMMIT', offset: data.length },
    ];
    await expect(write(...unknowing)).rejects.toMatchObject({ code: 'already_exists' });
    await expect(offsetOf(ref)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('of what another namespace has needs no bytes', async () => {
    const data = nextData();
    const expected = digestOf(data);
    using elsewhere = suite.berthd.clients(`${suite.namespace}-elsewhere`);
    await new Conversation(elsewhere).say({ action: 'COMMIT', ref: 'theirs', data });
    await expect(suite.clients.content.info({ digest: expected })).rejects.toMatchObject({ code: 'not_found' });
    const ref = nextRef();
    const total = data.length;
    expect(await write({ action: 'STAT', ref, total, expected })).toMatchObject({ offset: String(total) });
    await write({ action: 'COMMIT', ref, total, expected, offset: total, labels: { ours: 'yes' } });
    expect((await suite.clients.content.info({ digest: expected })).info?.labels).toEqual({ ours: 'yes' });
    expect((await elsewhere.content.info({ digest: expected })).info?.labels).toEqual({});
  });

  it('has its ref to itself, but only in its namespace', async () => {
    const ref = nextRef();
    const first = new Conversation(suite.clients);
    await first.say({ action: 'STAT', ref });
    await expect(write({ action: 'STAT', ref })).rejects.toMatchObject({ code: 'unavailable' });
    using elsewhere = suite.berthd.clients(`${suite.namespace}-elsewhere`);
    const other = new Conversation(elsewhere);
    await other.say({ action: 'STAT', ref });
    await other.end();
    await first.end();
    await write({ action: 'STAT', ref });
  });

  it.each([
    ['after its first words', []],
    ['after bytes', [{ action: 'WRITE', data: Buffer.from('some') }]],
    [
      'after an offset',
      [
        { action: 'WRITE', data: Buffer.from('some') },
        { action: 'WRITE', offset: 4, data: Buffer.from('more') },
      ],
    ],
  ] as const)('whose client goes away %s keeps its bytes and gives its ref back', async (_, said) => {
    const ref = nextRef();
    const leaving = new AbortController();
    const conversation = new Conversation(suite.clients, leaving.signal);
    await conversation.say({ action: 'STAT', ref });
    for (const request of said) await conversation.say(request);
    leaving.abort();
    await waitFor('the ref to be free', () => write({ action: 'STAT', ref }).catch(unlessBusy));
    expect(await offsetOf(ref)).toBe(said.length * 4);
  });

  it('begins with a ref, and says nothing larger than a message may be', async () => {
    await expect(write({ action: 'STAT' })).rejects.toMatchObject({ code: 'invalid_argument' });
    const ref = nextRef();
    const data = Buffer.alloc(20 << 20);
    await expect(write({ action: 'COMMIT', ref, data })).rejects.toMatchObject({ code: 'resource_exhausted' });
    await expect(offsetOf(ref)).rejects.toMatchObject({ code: 'not_found' });
  });
});

function unlessBusy(error: { code?: string }): false {
  if (error.code !== 'unavailable') throw error;
  return false;
}

describe('a read', () => {
  it('takes any part of a blob, and nothing from beyond its end', async () => {
    const data = nextData();
    const text = data.toString();
    const digest = digestOf(data);
    await write({ action: 'COMMIT', ref: nextRef(), data });
    expect(await read(digest, 0, 0)).toBe(text);
    expect(await read(digest, 3, 4)).toBe(text.slice(3, 7));
    expect(await read(digest, 3, -1)).toBe(text.slice(3));
    expect(await read(digest, -3, 4)).toBe(text.slice(0, 4));
    expect(await read(digest, 3, 1000)).toBe(text.slice(3));
    expect(await read(digest, data.length, 5)).toBe('');
    await expect(read(digest, data.length + 1, 5)).rejects.toMatchObject({ code: 'out_of_range' });
    await expect(read(digestOf(Buffer.alloc(9)), 0, 0)).rejects.toMatchObject({ code: 'not_found' });
    await expect(read('sha256:short', 0, 0)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('that is given up leaves no file open', async () => {
    const data = Buffer.alloc(12 << 20, 'x');
    for (const at of [0, 1])
      await write({ action: at === 0 ? 'WRITE' : 'COMMIT', ref: 'large', offset: at * data.length, data });
    const digest = digestOf(Buffer.concat([data, data]));
    const leaving = new AbortController();
    const answers = suite.clients.content.read({ digest }, { signal: leaving.signal })[Symbol.asyncIterator]();
    await answers.next();
    expect(openBlobs(suite.berthd.daemon.pid)).toBe(1);
    leaving.abort();
    await waitFor('the file to be closed', () => openBlobs(suite.berthd.daemon.pid) === 0);
  });
});
