import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { connect } from '#common/grpc/client.ts';
import { healthService, type LatePart } from '#common/grpc/health.ts';
import { GrpcServer } from '#common/grpc/server.ts';
import { imageDropService } from '#common/image-drop.ts';
import { createLogger } from '#common/log.ts';
import { ImageDrop } from '../../../apps/cri-shim/images/image-drop.ts';
import type { Runtime } from '../../../apps/cri-shim/runtime.ts';
import { noFeatures } from '../../../apps/cri-shim/runtime-features.ts';
import { runtimeStatus } from '../../../apps/cri-shim/status.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const dir = scratchDir();
const log = createLogger({ name: 'test', level: 'silent' });
const undo: (() => Promise<void> | void)[] = [];
let servers = 0;

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
afterAll(() => removeScratch(dir));

/** A daemon with nothing but its health. */
async function dropOf(parts: Readonly<Record<string, LatePart>>): Promise<ImageDrop> {
  const socket = join(dir, `${++servers}.sock`);
  const server = new GrpcServer().add(healthService(log, parts));
  await server.listen(socket);
  undo.push(() => server.close(0));
  const channel = connect(socket);
  undo.push(() => channel.close());
  return new ImageDrop(channel, log);
}

async function readiness(imageDrop: ImageDrop) {
  const runtime = {
    imageDrop,
    core: { version: async () => '2' },
    network: { unready: async () => undefined },
    handlers: { names: [], features: async () => noFeatures },
  };
  const { status } = await runtimeStatus(runtime as unknown as Runtime, false);
  return status?.conditions?.find(({ type }) => type === 'RuntimeReady');
}

test('the node is not ready before berthd has imported its archives and their images are known', async () => {
  const imported = Promise.withResolvers<void>();
  const part = { isReady: false, ready: imported.promise };
  const drop = await dropOf({ [imageDropService]: part });
  const known = Promise.withResolvers<void>();
  const reading = Promise.withResolvers<void>();
  const followed = drop.follow(new AbortController().signal, async () => {
    reading.resolve();
    await known.promise;
  });
  expect(await readiness(drop)).toMatchObject({ status: false, reason: 'ImportingImages' });
  part.isReady = true;
  imported.resolve();
  await reading.promise;
  expect(await readiness(drop)).toMatchObject({ status: false });
  known.resolve();
  await followed;
  expect(await readiness(drop)).toMatchObject({ status: true, reason: '' });
});

test('a containerd that has no drop directory is not waited for', async () => {
  const drop = await dropOf({});
  await drop.follow(new AbortController().signal, async () => undefined);
  expect(drop.isDone).toBe(true);
});

test('a wait ends when the daemon does', async () => {
  const drop = await dropOf({ [imageDropService]: { isReady: false, ready: new Promise(() => undefined) } });
  const stop = new AbortController();
  const followed = drop.follow(stop.signal, async () => undefined);
  stop.abort();
  await followed;
  expect(drop.isDone).toBe(false);
});
