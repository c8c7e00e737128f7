import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { coreClients } from '../support/core-clients.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();

/** What a container record can't be without. */
const required = { runtime: { name: 'io.containerd.runc.v2' }, spec: packJson(typeUrls.spec, { ociVersion: '1.0.2' }) };

describe('events', () => {
  it('reach subscribers whose filter matches, in order', async () => {
    const { events, containers } = suite.clients;
    const stop = new AbortController();
    const filters = [`namespace==${suite.namespace},topic~="^/containers/"`];
    const stream = events.subscribe({ filters }, { signal: stop.signal });
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { topic } of stream) seen.push(topic);
    })().catch(() => undefined);
    // Nothing tells when the subscription stands: create containers until the first is seen.
    await waitFor('the subscription', async () => {
      await containers.create({ container: { id: 'probe', ...required } });
      await containers.delete({ id: 'probe' });
      return seen.includes('/containers/create');
    });
    await waitFor('the last event', () => seen.at(-1) === '/containers/delete');
    stop.abort();
    await reading;
    expect(
      seen.every((topic, index) => topic === `/containers/${(seen.length - index) % 2 ? 'delete' : 'create'}`),
    ).toBe(true);
  });

  it('of a subscriber that does not read are bounded, and it is told', async () => {
    const { events } = suite.clients;
    // On a connection of its own, which takes another address: what isn't read holds up all else on the same one.
    const address = join(suite.dir, 'other.sock');
    symlinkSync(suite.berthd.socket, address);
    using slow = coreClients(address, suite.namespace);
    const stream = slow.events.subscribe({ filters: ['topic=="/test/slow"'] });
    await slow.version.version({});
    // Some fifty lie at rest on the way, in the buffers of gRPC on both sides.
    const event = { type_url: 'test.Slow', value: Buffer.alloc(2 << 20) };
    for (let count = 0; count < 90; count++) await events.publish({ topic: '/test/slow', event });
    const reading = Array.fromAsync(stream);
    await expect(reading).rejects.toMatchObject({ code: 'resource_exhausted' });
    await expect(reading).rejects.toThrow(/subscribe again/);
  });

  it.each([
    ['topic', { topic: 'no-slash' }],
    ['topic', { topic: '' }],
    ['component', { topic: '/a//b' }],
    ['component', { topic: '/a/b c' }],
    ['event', { topic: '/a/b', event: null }],
  ])('are refused without a proper %s: %j', async (_what, request) => {
    const event = { type_url: 't', value: Buffer.from('x') };
    await expect(suite.clients.events.publish({ event, ...request })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('of others are forwarded as they are, into any namespace', async () => {
    const { events } = suite.clients;
    const event = { type_url: 't', value: Buffer.from('x') };
    const envelope = { timestamp: { seconds: '7', nanos: 9 }, namespace: 'elsewhere', topic: '/a/b', event };
    const next = events.subscribe({ filters: ['namespace==elsewhere'] }).next();
    await events.forward({ envelope });
    expect((await next).value).toEqual(envelope);
    for (const wrong of [
      { timestamp: null },
      { namespace: '' },
      { namespace: 'a/b' },
      { topic: 'x' },
      { event: null },
    ]) {
      const call = events.forward({ envelope: { ...envelope, ...wrong } });
      await expect(call, JSON.stringify(wrong)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    await expect(events.forward({ envelope: null })).rejects.toMatchObject({ code: 'invalid_argument' });
    const malformed = events.subscribe({ filters: ['topic='] }).next();
    await expect(malformed).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('are carried from publisher to subscriber with their payload', async () => {
    const { events } = suite.clients;
    const stop = new AbortController();
    const stream = events.subscribe({ filters: ['topic=="/test/own"'] }, { signal: stop.signal });
    const next = stream.next();
    const event = { type_url: 'test.Own', value: Buffer.from('payload') };
    let seen: Awaited<typeof next> | undefined;
    void next.then((item) => {
      seen = item;
    });
    await waitFor('the event', async () => {
      await events.publish({ topic: '/test/own', event });
      return seen !== undefined;
    });
    expect(seen?.value).toMatchObject({ namespace: suite.namespace, topic: '/test/own', event });
    stop.abort();
  });
});
