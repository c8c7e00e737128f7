import { setTimeout as sleep } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { serviceDefinition } from '#common/grpc/proto.ts';
import { type Figures, timed } from './figures.ts';
import type { BenchSide } from './side.ts';

const audiences = [1, 10, 50] as const;
const published = 1000;
/** Publications at a time. */
const lanes = 8;

/** Events from one publisher to many subscribers, who count what comes without looking at it. */
export async function measureEvents(side: BenchSide, figures: Figures): Promise<void> {
  for (const audience of audiences) {
    const subscribers = Array.from({ length: audience }, () => new Subscriber(side.socket));
    while (subscribers.some(({ heard }) => heard === 0)) {
      await publish(side);
      await sleep(5);
    }
    await sleep(100);
    for (const subscriber of subscribers) subscriber.heard = 0;
    const cpu = side.cpu.usedMs();
    const ms = await timed(async () => {
      let left = published;
      const lane = async (): Promise<void> => {
        while (left-- > 0) await publish(side);
      };
      await Promise.all(Array.from({ length: lanes }, lane));
      while (subscribers.some(({ heard }) => heard < published)) await sleep(1);
    });
    figures.add(`events: to ${audience}, ms each`, ms / published);
    figures.add(`events: to ${audience}, ms of CPU each`, (side.cpu.usedMs() - cpu) / published);
    for (const subscriber of subscribers) subscriber.close();
  }
}

function publish({ clients }: BenchSide): Promise<unknown> {
  const event = { type_url: 'containerd.events.TaskExit', value: Buffer.from('0a03616263120361626318d2092089011a00') };
  return clients.events.publish({ topic: '/tasks/exit', event });
}

class Subscriber {
  heard = 0;
  readonly #client: grpc.Client;
  readonly #call: grpc.ClientReadableStream<Buffer>;

  constructor(socket: string) {
    const { path, requestSerialize } = serviceDefinition('containerd.services.events.v1.Events').Subscribe as Method;
    const options = { 'grpc.use_local_subchannel_pool': 1 };
    this.#client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), options);
    this.#call = this.#client.makeServerStreamRequest(path, requestSerialize, (bytes) => bytes, { filters: [] });
    this.#call.on('data', () => {
      this.heard += 1;
    });
    this.#call.on('error', () => undefined);
  }

  close(): void {
    this.#call.cancel();
    this.#client.close();
  }
}

type Method = grpc.MethodDefinition<unknown, unknown>;
