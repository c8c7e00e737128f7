import { describe, expect, it } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { encode } from '#common/wire/codec.ts';
import { eventField } from '../../../apps/core/events/event-fields.ts';
import type { Envelope } from '../../../apps/core/events/events.ts';
import { EventExchange } from '../../../apps/core/events/exchange.ts';

const exit = { containerId: 'web', id: 'exec-1', pid: 12, exitStatus: 3 };

function publishExit(exchange: EventExchange, namespace: string, containerId: string): void {
  exchange.publishTyped(namespace, '/tasks/exit', 'containerd.events.TaskExit', { ...exit, containerId });
}

async function topics(subscription: AsyncIterable<{ topic: string }>): Promise<string[]> {
  const seen: string[] = [];
  for await (const { topic } of subscription) seen.push(topic);
  return seen;
}

describe('event exchange', () => {
  it('hands every event to every subscriber, in the order of publication', async () => {
    const exchange = new EventExchange();
    const stop = new AbortController();
    const first = exchange.subscribe([], stop.signal);
    const second = exchange.subscribe([], stop.signal);
    for (const topic of ['/a/1', '/a/2', '/a/3']) exchange.publish('default', topic, 't', new Uint8Array());
    for (const subscription of [first, second]) {
      for (const topic of ['/a/1', '/a/2', '/a/3']) {
        expect((await subscription.next()).value).toMatchObject({ namespace: 'default', topic });
      }
    }
  });

  it('has the subscription from the call on, before anything is read', async () => {
    const exchange = new EventExchange();
    const subscription = exchange.subscribe([]);
    exchange.publish('default', '/early/bird', 't', new Uint8Array());
    expect((await subscription.next()).value?.topic).toBe('/early/bird');
  });

  it('pours into a reader while it takes more, keeps the rest in order until it has room, and ends with it', async () => {
    const exchange = new EventExchange();
    const stop = new AbortController();
    const subscription = exchange.subscribe([], stop.signal);
    const publish = (...numbers: readonly number[]): void => {
      for (const number of numbers) exchange.publish('default', `/a/${number}`, 't', new Uint8Array());
    };
    publish(1, 2);
    const taken: string[] = [];
    let isFull = false;
    let emptied = Promise.withResolvers<void>();
    const poured = subscription.pour(
      ({ topic }) => {
        expect(isFull, `${topic} comes without room`).toBe(false);
        taken.push(topic);
        isFull = taken.length % 3 === 0;
        return !isFull;
      },
      () => (isFull ? emptied.promise : Promise.resolve()),
    );
    const empty = async (): Promise<void> => {
      isFull = false;
      emptied.resolve();
      emptied = Promise.withResolvers();
      await new Promise(setImmediate);
    };
    await new Promise(setImmediate);
    // What the reader takes at once is with it when the publisher goes on.
    publish(3);
    expect(taken).toEqual(['/a/1', '/a/2', '/a/3']);
    publish(4, 5, 6, 7);
    expect(taken).toHaveLength(3);
    await empty();
    expect(taken).toEqual(['/a/1', '/a/2', '/a/3', '/a/4', '/a/5', '/a/6']);
    publish(8);
    await empty();
    expect(taken.slice(6)).toEqual(['/a/7', '/a/8']);
    stop.abort();
    await poured;
    publish(9);
    expect(taken).toHaveLength(8);
  });

  it('ends the stream of a reader that fails, and of one that never has room again', async () => {
    const exchange = new EventExchange({ queueLimit: 2 });
    const publish = (): void => exchange.publish('default', '/a/b', 't', new Uint8Array());
    const failing = exchange.subscribe([]).pour(
      () => {
        throw new BerthError('unavailable', 'gone');
      },
      async () => {},
    );
    let written = 0;
    const stuck = exchange.subscribe([]).pour(
      () => ++written === 0,
      () => new Promise((resolve) => setTimeout(resolve, 20)),
    );
    await new Promise(setImmediate);
    for (let n = 0; n < 4; n++) publish();
    await expect(failing).rejects.toMatchObject({ code: 'unavailable' });
    await expect(stuck).rejects.toMatchObject({ code: 'resource_exhausted' });
    expect(written).toBe(1);
  });

  it('tells nothing of what was published before', async () => {
    const exchange = new EventExchange();
    exchange.publish('default', '/too/early', 't', new Uint8Array());
    const subscription = exchange.subscribe([]);
    exchange.publish('default', '/in/time', 't', new Uint8Array());
    expect((await subscription.next()).value?.topic).toBe('/in/time');
  });

  it('tells late subscribers of the ends of tasks that an earlier daemon created, and of no others', async () => {
    const exchange = new EventExchange();
    exchange.publishTyped('default', '/tasks/create', 'containerd.events.TaskCreate', { containerId: 'new' });
    for (const containerId of ['old', 'new']) publishExit(exchange, 'default', containerId);
    publishExit(exchange, 'other', 'new');
    const filters = ['namespace==default'];
    const subscriptions = [exchange.subscribe(filters), exchange.subscribe(filters)];
    exchange.publish('default', '/in/time', 't', new Uint8Array());
    for (const subscription of subscriptions) {
      const { value } = await subscription.next();
      expect(eventField(value as Envelope, ['event', 'container_id'])).toBe('old');
      expect((await subscription.next()).value?.topic).toBe('/in/time');
    }
  });

  it('ends a subscription when its signal aborts, also one that is being read', async () => {
    const exchange = new EventExchange();
    const stop = new AbortController();
    const reading = topics(exchange.subscribe([], stop.signal));
    stop.abort();
    await expect(reading).resolves.toEqual([]);
    await expect(topics(exchange.subscribe([], AbortSignal.abort()))).resolves.toEqual([]);
  });

  it('tells every subscriber why it closes, whether it is reading or not', async () => {
    const exchange = new EventExchange();
    const idle = exchange.subscribe([]);
    const reading = exchange.subscribe([]).next();
    exchange.close(new BerthError('unavailable', 'stopping'));
    await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    await expect(idle.next()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await idle.next()).toEqual({ done: true, value: undefined });
  });

  it('tells a subscriber that lags behind too far, drops its queue, and goes on for the others', async () => {
    const exchange = new EventExchange({ queueLimit: 3 });
    const slow = exchange.subscribe([]);
    const other = exchange.subscribe(['topic=="/a/4"']);
    for (const topic of ['/a/1', '/a/2', '/a/3', '/a/4']) exchange.publish('default', topic, 't', new Uint8Array());
    await expect(slow.next()).rejects.toMatchObject({ code: 'resource_exhausted' });
    expect(await slow.next()).toEqual({ done: true, value: undefined });
    expect((await other.next()).value?.topic).toBe('/a/4');
  });

  it('takes no more than so many bytes for a subscriber that lags behind, but any one event', async () => {
    const exchange = new EventExchange({ queueBytes: 10 });
    const slow = exchange.subscribe([]);
    const publish = (bytes: number) => exchange.publish('default', '/a/b', 't', new Uint8Array(bytes));
    publish(1000);
    expect((await slow.next()).value?.event.value).toHaveLength(1000);
    for (const bytes of [4, 4, 2]) publish(bytes);
    expect((await slow.next()).value?.event.value).toHaveLength(4);
    publish(4);
    publish(1);
    await expect(slow.next()).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('keeps up with a subscriber that reads more than the bound in all', async () => {
    const exchange = new EventExchange({ queueLimit: 2 });
    const subscription = exchange.subscribe([]);
    for (let count = 0; count < 5000; count++) {
      exchange.publish('default', `/n/${count}`, 't', new Uint8Array());
      if (count % 2 === 1) {
        expect((await subscription.next()).value?.topic).toBe(`/n/${count - 1}`);
        expect((await subscription.next()).value?.topic).toBe(`/n/${count}`);
      }
    }
  });

  it.each([
    ['topic=="/tasks/exit"', true],
    ['topic~=|^/tasks/|', true],
    ['topic=="/tasks/start"', false],
    ['namespace==k8s.io', true],
    ['namespace==default', false],
    ['event.container_id==web', true],
    ['event.container_id==db', false],
    ['event.id==exec-1', true],
    ['event.exit_status==3', true],
    ['event.nothing', false],
    ['topic=="/tasks/exit",event.container_id==web', true],
    ['topic=="/tasks/exit",event.container_id==db', false],
  ])('matches the filter %s: %s', async (filter, matches) => {
    const exchange = new EventExchange();
    const subscription = exchange.subscribe([filter, 'topic=="/last/one"']);
    publishExit(exchange, 'k8s.io', 'web');
    exchange.publish('last', '/last/one', 't', new Uint8Array());
    expect((await subscription.next()).value?.topic).toBe(matches ? '/tasks/exit' : '/last/one');
  });

  it('matches any of several filters, and map keys with dots in them', async () => {
    const exchange = new EventExchange();
    const subscription = exchange.subscribe(['topic=="/no/such"', 'event.labels."a.b/c"==yes']);
    const update = { id: 'web', labels: { 'a.b/c': 'yes' } };
    exchange.publishTyped('default', '/containers/update', 'containerd.events.ContainerUpdate', update);
    expect((await subscription.next()).value?.topic).toBe('/containers/update');
  });

  it('carries payloads of types that it does not know', async () => {
    const exchange = new EventExchange();
    const all = exchange.subscribe([]);
    const some = exchange.subscribe(['event.id==x']);
    exchange.publish('default', '/odd/one', 'example.Unknown', Buffer.from('odd'));
    exchange.publish('default', '/broken/one', 'containerd.events.TaskExit', Buffer.from([0xff]));
    exchange.publishTyped('default', '/good/one', 'containerd.events.TaskExit', { id: 'x' });
    expect((await all.next()).value?.event.value.toString()).toBe('odd');
    expect((await some.next()).value?.topic).toBe('/good/one');
  });

  it('encodes a typed event as its message', async () => {
    const exchange = new EventExchange();
    const subscription = exchange.subscribe([]);
    publishExit(exchange, 'default', 'web');
    const { event, timestamp } = (await subscription.next()).value ?? {};
    expect(event).toEqual({
      type_url: 'containerd.events.TaskExit',
      value: encode('containerd.events.TaskExit', exit),
    });
    expect(Number(timestamp?.seconds)).toBeGreaterThan(1_700_000_000);
  });

  it.each(['', 'tasks/exit', '/', '//exit', '/tasks/', '/tasks/a b', '/tasks/../x'])(
    'refuses the topic %j',
    (topic) => {
      expect(() => new EventExchange().publish('default', topic, 't', new Uint8Array())).toThrow(
        expect.objectContaining({ code: 'invalid_argument' }),
      );
    },
  );

  it('refuses a namespace that is no identifier, and a filter that does not parse', () => {
    const exchange = new EventExchange();
    const invalid = expect.objectContaining({ code: 'invalid_argument' });
    expect(() => exchange.publish('', '/a/b', 't', new Uint8Array())).toThrow(invalid);
    expect(() => exchange.publish('a/b', '/a/b', 't', new Uint8Array())).toThrow(invalid);
    expect(() => exchange.subscribe(['topic==='])).toThrow(invalid);
  });
});
