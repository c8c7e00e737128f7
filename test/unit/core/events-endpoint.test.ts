import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '#common/log.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { unary } from '#common/ttrpc/typed.ts';
import { encode } from '#common/wire/codec.ts';
import { type Envelope, EventExchange } from '../../../apps/core/events/exchange.ts';
import { type ShimEndpoint, serveShimEndpoint } from '../../../apps/core/events/shim-endpoint.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

describe("the shims' event endpoint", () => {
  let dir: string;
  let socketPath: string;
  let exchange: EventExchange;
  let endpoint: ShimEndpoint;
  let client: TtrpcClient;
  let observed: string[];

  const options = () => ({
    socketPath,
    exchange,
    observe: async ({ topic }: Envelope) => observed.push(topic) > 0 && topic !== '/tasks/heard',
    log: silentLogger(),
  });
  const forward = (envelope: object | null) =>
    unary(
      client,
      'containerd.services.events.ttrpc.v1.Events',
      'Forward',
      'containerd.services.events.ttrpc.v1.ForwardRequest',
      'google.protobuf.Empty',
    )({ envelope });
  const envelope = {
    timestamp: { seconds: '1795242649', nanos: 123_456_789 },
    namespace: 'default',
    topic: '/tasks/exit',
    event: {
      type_url: 'containerd.events.TaskExit',
      value: Buffer.from(encode('containerd.events.TaskExit', { containerId: 'web', id: 'web', exitStatus: 3 })),
    },
  };

  beforeEach(async () => {
    dir = scratchDir();
    socketPath = join(dir, 'd.sock.ttrpc');
    exchange = new EventExchange();
    observed = [];
    endpoint = await serveShimEndpoint(options());
    client = await TtrpcClient.connect(socketPath);
  });
  afterEach(async () => {
    client.close();
    await endpoint.close();
    removeScratch(dir);
  });

  it("hands a shim's event on with its own time, and shows it to the observer first", async () => {
    const subscription = exchange.subscribe([]);
    await forward(envelope);
    expect(observed).toEqual(['/tasks/exit']);
    expect((await subscription.next()).value).toEqual(envelope);
  });

  it('acknowledges an event that the observer keeps back, and hands it to nobody', async () => {
    const subscription = exchange.subscribe([]);
    await forward({ ...envelope, topic: '/tasks/heard' });
    await forward(envelope);
    expect((await subscription.next()).value).toEqual(envelope);
  });

  it.each([
    ['no envelope', null],
    ['no timestamp', { ...envelope, timestamp: null }],
    ['no payload', { ...envelope, event: null }],
    ['no namespace', { ...envelope, namespace: '' }],
    ['a malformed topic', { ...envelope, topic: 'tasks/exit' }],
  ])('refuses an event with %s', async (_, bad) => {
    await expect(forward(bad)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('is for its owner only', () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  it('refuses to start where another daemon serves, and leaves no socket behind', async () => {
    await expect(serveShimEndpoint(options())).rejects.toMatchObject({ code: 'already_exists' });
    await forward(envelope);
    await endpoint.close();
    expect(existsSync(socketPath)).toBe(false);
  });
});
