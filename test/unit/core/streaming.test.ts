import { describe, expect, it } from 'vitest';
import type { Any } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { receiveBytes, sendBytes } from '../../../apps/core/streaming/byte-stream.ts';
import { CallStream } from '../../../apps/core/streaming/call-stream.ts';
import { StreamManager } from '../../../apps/core/streaming/stream-manager.ts';

const DATA = 'containerd.types.transfer.Data';
const WINDOW_UPDATE = 'containerd.types.transfer.WindowUpdate';

function message(text: string): Any {
  return { type_url: 'text', value: Buffer.from(text) };
}

async function* nothing(): AsyncGenerator<Any> {}

function idle(signal = new AbortController().signal): CallStream {
  return new CallStream(nothing(), signal);
}

async function collect(stream: CallStream): Promise<string[]> {
  const texts: string[] = [];
  for await (const { value } of stream.outgoing()) texts.push(value.toString());
  return texts;
}

describe('StreamManager', () => {
  it('finds a stream by namespace and id until its registration is disposed', () => {
    const manager = new StreamManager();
    const stream = idle();
    const registration = manager.register('a', 'id', stream);
    expect(manager.get('a', 'id')).toBe(stream);
    expect(() => manager.get('b', 'id')).toThrow(/"id" not found/);
    expect(() => manager.register('a', 'id', idle())).toThrow(/already exists/);
    registration[Symbol.dispose]();
    expect(() => manager.get('a', 'id')).toThrow(/not found/);
  });
});

describe('CallStream', () => {
  it('answers what was sent, in order, also when it was closed meanwhile', async () => {
    const stream = idle();
    void stream.send(message('one'));
    void stream.send(message('two'));
    stream.close();
    expect(await collect(stream)).toEqual(['one', 'two']);
  });

  it('lets a sender wait until the client has taken the message', async () => {
    const stream = idle();
    const collected = collect(stream);
    await stream.send(message('one'));
    await stream.send(message('two'));
    stream.close();
    expect(await collected).toEqual(['one', 'two']);
  });

  it('lets no sender wait for a client that has gone', async () => {
    const controller = new AbortController();
    const stream = idle(controller.signal);
    const waiting = stream.send(message('never taken'));
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'canceled' });
    await expect(stream.send(message('late'))).rejects.toMatchObject({ code: 'canceled' });
    expect(await collect(stream)).toEqual([]);
  });

  it('rejects what is queued when the call ends before it was taken', async () => {
    const stream = idle();
    const first = stream.send(message('one'));
    const second = stream.send(message('two'));
    const outgoing = stream.outgoing();
    await outgoing.next();
    await outgoing.return();
    await expect(first).rejects.toMatchObject({ code: 'canceled' });
    await expect(second).rejects.toMatchObject({ code: 'canceled' });
  });
});

describe('receiveBytes', () => {
  const { signal } = new AbortController();

  it('does not wait for a silent client once it is aborted', async () => {
    const controller = new AbortController();
    const silent = (async function* (): AsyncGenerator<Any> {
      await new Promise(() => {});
    })();
    const stream = new CallStream(silent, signal);
    void collect(stream);
    const read = async () => {
      for await (const _piece of receiveBytes(stream, controller.signal));
    };
    const reading = read();
    setImmediate(() => controller.abort());
    await expect(reading).rejects.toMatchObject({ code: 'canceled' });
  });

  it('takes any amount from a client that keeps to its window', async () => {
    const total = 5 * 1024 * 1024;
    const toClient: Any[] = [];
    let wake = (): void => {};
    const client = (async function* () {
      let window = 0;
      for (let sent = 0; sent < total; ) {
        while (toClient.length === 0 && window === 0) await new Promise<void>((resolve) => (wake = resolve));
        for (const update of toClient.splice(0)) window += decode(WINDOW_UPDATE, update.value).update;
        const size = Math.min(32 * 1024, window, total - sent);
        window -= size;
        sent += size;
        yield { type_url: DATA, value: Buffer.from(encode(DATA, { data: Buffer.alloc(size, sent % 251) })) };
      }
    })();
    const stream = new CallStream(client, new AbortController().signal);
    void (async () => {
      for await (const update of stream.outgoing()) {
        toClient.push(update);
        wake();
      }
    })();
    let received = 0;
    for await (const piece of receiveBytes(stream, signal)) received += piece.length;
    expect(received).toBe(total);
  });

  it('refuses a client that sends beyond its window', async () => {
    const client = (async function* () {
      for (;;) yield { type_url: DATA, value: Buffer.from(encode(DATA, { data: Buffer.alloc(3 * 1024 * 1024) })) };
    })();
    const stream = new CallStream(client, new AbortController().signal);
    void collect(stream);
    const read = async () => {
      for await (const _piece of receiveBytes(stream, signal));
    };
    await expect(read()).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('sendBytes', () => {
  const { signal } = new AbortController();

  async function* pieces(...sizes: number[]): AsyncGenerator<Buffer> {
    for (const size of sizes) yield Buffer.alloc(size, size % 251);
  }

  function update(bytes: number): Any {
    return { type_url: WINDOW_UPDATE, value: Buffer.from(encode(WINDOW_UPDATE, { update: bytes })) };
  }

  it('never sends more than the client has asked for, and closes the stream at the end', async () => {
    let asked = 0;
    let received = 0;
    const window = 64 * 1024;
    const client = (async function* () {
      for (;;) {
        asked += window;
        yield update(window);
      }
    })();
    const stream = new CallStream(client, signal);
    const listening = (async () => {
      for await (const { value } of stream.outgoing()) {
        received += decode(DATA, value).data.length;
        expect(received).toBeLessThanOrEqual(asked);
      }
    })();
    await sendBytes(stream, pieces(10, 0, 300_000, 7), signal);
    await listening;
    expect(received).toBe(300_017);
    expect(asked - received).toBeLessThan(2 * window);
  });

  it('ends the stream at once when there is nothing to send', async () => {
    const stream = idle();
    const listening = collect(stream);
    await sendBytes(stream, pieces(), signal);
    expect(await listening).toEqual([]);
  });

  it.each([
    ['leaves', [], 'canceled'],
    ['sends something else', [message('data')], 'invalid_argument'],
    ['takes bytes back', [update(-1)], 'invalid_argument'],
  ])('gives up on a client that %s while bytes wait for it', async (_what, messages, code) => {
    const client = (async function* () {
      yield* messages;
    })();
    await expect(sendBytes(new CallStream(client, signal), pieces(1), signal)).rejects.toMatchObject({ code });
  });
});
