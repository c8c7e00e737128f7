import { setTimeout as sleep } from 'node:timers/promises';
import { decode } from '#common/wire/codec.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import { messages, type WireTypes } from '#proto/wire.ts';
import type { Side } from './side.ts';

const mark = '/fuzz/mark';

/** Listens to the events of a sequence's namespaces. */
export class EventRecorder {
  readonly #side: Side;
  readonly #end = new AbortController();
  readonly #seen: Envelope__Output[] = [];
  #marks = 0;
  #reading: Promise<void> = Promise.resolve();

  private constructor(side: Side) {
    this.#side = side;
  }

  /** Resolves once every event from now on is heard. */
  static async start(side: Side): Promise<EventRecorder> {
    const recorder = new EventRecorder(side);
    const filters = ['main', 'other', 'unknown'].map((word) => `namespace==${side.namespace(word)}`);
    recorder.#reading = recorder.#read(side.clients.events.subscribe({ filters }, { signal: recorder.#end.signal }));
    while (recorder.#marks === 0) {
      await recorder.#publishMark();
      await sleep(5);
    }
    return recorder;
  }

  /** What was heard until now, in the order of its coming; ends the listening. */
  async stop(): Promise<unknown[]> {
    const before = this.#marks;
    await this.#publishMark();
    while (this.#marks === before) await sleep(2);
    this.#end.abort();
    await this.#reading;
    return this.#seen.map(({ namespace, topic, event }) => ({
      topic,
      namespace,
      type: event?.type_url,
      payload: this.#side.normal(payloadOf(event?.type_url ?? '', event?.value ?? Buffer.alloc(0))),
    }));
  }

  async #read(envelopes: AsyncIterable<Envelope__Output>): Promise<void> {
    try {
      for await (const envelope of envelopes) {
        if (envelope.topic === mark) this.#marks += 1;
        else this.#seen.push(envelope);
      }
    } catch (error) {
      if (!this.#end.signal.aborted) throw error;
    }
  }

  async #publishMark(): Promise<void> {
    const event = { type_url: 'fuzz.Mark', value: Buffer.alloc(0) };
    await this.#side.clients.events.publish({ topic: mark, event }, { namespace: this.#side.namespace('main') });
  }
}

function payloadOf(type: string, value: Uint8Array): unknown {
  return Object.hasOwn(messages, type) ? decode(type as keyof WireTypes, value) : value;
}
