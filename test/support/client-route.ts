import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { isCode } from '#common/errors.ts';
import { type Blob, descriptorOf, digestOf, type TestImage } from './busybox-image.ts';
import type { CoreClients } from './core-clients.ts';

/**
 * Brings an image into the daemon as ctr and nerdctl do: blobs through Content, layers through Snapshots and Diff.
 * Returns the chain id, which is the key of the snapshot to build on.
 */
export async function importImage(clients: CoreClients, image: TestImage, name: string): Promise<string> {
  const { lease } = await clients.leases.create({
    id: `import-${image.manifest.digest.slice(-12)}`,
    labels: { 'containerd.io/gc.expire': new Date(Date.now() + 600_000).toISOString() },
  });
  const options = { lease: lease?.id };
  try {
    for (const layer of image.layers) await writeBlob(clients, layer, {}, options);
    const chains = await unpackLayers(clients, image.layers, options);
    const chain = chains.at(-1) as string;
    await writeBlob(clients, image.config, { 'containerd.io/gc.ref.snapshot.overlayfs': chain }, options);
    const references = [image.config, ...image.layers].map(({ digest }, index) => [
      `containerd.io/gc.ref.content.${index}`,
      digest,
    ]);
    await writeBlob(clients, image.manifest, Object.fromEntries(references), options);
    const target = descriptorOf(image.manifest);
    await clients.images.create({ image: { name, target } }, options);
    return chain;
  } finally {
    if (lease !== null) await clients.leases.delete({ id: lease.id });
  }
}

type LeaseOption = { readonly lease?: string | undefined };

/** One blob in one message; returns its digest. */
export async function writeBlob(
  clients: CoreClients,
  { digest, size, data }: Pick<Blob, 'digest' | 'size' | 'data'>,
  labels: Readonly<Record<string, string>> = {},
  options: LeaseOption = {},
): Promise<void> {
  const call = clients.content.write(options);
  await call.send({ action: 'COMMIT', ref: `write-${digest}`, total: size, expected: digest, offset: 0, data, labels });
  call.end();
  try {
    for await (const { action } of call) if (action === 'COMMIT') return;
  } catch (error) {
    if (isCode(error, 'already_exists')) return;
    throw error;
  }
  throw new Error(`no answer to the commit of ${digest}`);
}

async function unpackLayers(clients: CoreClients, layers: readonly Blob[], options: LeaseOption): Promise<string[]> {
  const chains: string[] = [];
  for (const layer of layers) {
    const parent = chains.at(-1) ?? '';
    const diffId = digestOf(gunzipSync(layer.data));
    const chain = parent === '' ? diffId : chainId(parent, diffId);
    chains.push(chain);
    const key = `extract-${chain}`;
    const labels = { 'containerd.io/gc.root': 'now' };
    const { mounts } = await clients.snapshots.prepare({ snapshotter: 'overlayfs', key, parent, labels }, options);
    const { applied } = await clients.diff.apply({ diff: descriptorOf(layer), mounts }, options);
    if (applied?.digest !== diffId) throw new Error(`diff id ${applied?.digest}, not ${diffId}`);
    try {
      await clients.snapshots.commit({ snapshotter: 'overlayfs', name: chain, key, labels }, options);
    } catch (error) {
      // The daemon may have unpacked the same layer meanwhile, for somebody else.
      if (!isCode(error, 'already_exists')) throw error;
      await clients.snapshots.remove({ snapshotter: 'overlayfs', key }, options);
    }
  }
  return chains;
}

function chainId(parent: string, diffId: string): string {
  return `sha256:${createHash('sha256').update(`${parent} ${diffId}`).digest('hex')}`;
}
