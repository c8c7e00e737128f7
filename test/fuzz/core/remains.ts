/** What a sequence leaves in the daemons: how it is told, collected and cleared away. */
import { isCode } from '#common/errors.ts';
import type { CallOptions } from '#common/grpc/client.ts';
import type { CoreClients } from '../../support/core-clients.ts';
import { keep } from './inputs.ts';
import type { Side } from './side.ts';
import { clearTasks } from './task-operations.ts';

const namespaces = ['main', 'other'];
const everywhere = [...namespaces, 'unknown'];
const snapshotter = 'overlayfs';

/** Everything in the namespaces of the sequence. */
export async function remains(side: Side): Promise<unknown> {
  return Object.fromEntries(await Promise.all(namespaces.map(async (ns) => [ns, await remainsIn(side, ns)])));
}

/** Ends every lease and collects garbage. */
export async function collect(side: Side): Promise<void> {
  for (const ns of namespaces) {
    const options = side.options({ ns });
    const { leases } = await side.clients.leases.list({}, options);
    for (const { id } of leases) if (id !== keep) await side.clients.leases.delete({ id }, options);
  }
  for (const ns of namespaces) {
    await absent(side.clients.leases.delete({ id: keep, sync: true }, side.options({ ns })));
  }
}

/** Deletes all that is left, namespaces last. @throws what keeps something from being deleted */
export async function clear(side: Side): Promise<void> {
  const { clients } = side;
  await clearTasks(side);
  for (const ns of everywhere) {
    const options = side.options({ ns });
    for (const { id } of (await clients.containers.list({}, options)).containers) {
      await clients.containers.delete({ id }, options);
    }
    for (const { name } of (await clients.images.list({}, options)).images)
      await clients.images.delete({ name }, options);
    for (const { ref } of (await clients.content.listStatuses({}, options)).statuses) {
      await clients.content.abort({ ref }, options);
    }
    for (const { digest } of (await Array.fromAsync(clients.content.list({}, options))).flatMap(({ info }) => info)) {
      await absent(clients.content.delete({ digest }, options));
    }
    await unlabelSnapshots(clients, options);
  }
  // Files too: the next sequence must not find a blob on disk.
  await clients.leases.create({ id: 'sweep' }, side.options({ ns: 'main' }));
  await clients.leases.delete({ id: 'sweep', sync: true }, side.options({ ns: 'main' }));
  for (const ns of everywhere) await absent(clients.namespaces.delete({ name: side.namespace(ns) }));
}

async function remainsIn(side: Side, ns: string): Promise<unknown> {
  const options = side.options({ ns });
  const { clients } = side;
  const { leases } = await clients.leases.list({}, options);
  const blobs = (await Array.fromAsync(clients.content.list({}, options))).flatMap(({ info }) => info);
  const snapshots = (await Array.fromAsync(clients.snapshots.list({ snapshotter }, options))).flatMap(
    ({ info }) => info,
  );
  return {
    containers: (await clients.containers.list({}, options)).containers,
    images: (await clients.images.list({}, options)).images,
    leases,
    ingests: (await clients.content.listStatuses({}, options)).statuses.sort((a, b) => (a.ref < b.ref ? -1 : 1)),
    blobs,
    snapshots: snapshots.sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

/** By letting them be collected: containerd 1.6 doesn't remove a parent any more whose child it has collected. */
async function unlabelSnapshots({ snapshots }: CoreClients, options: CallOptions): Promise<void> {
  const infos = (await Array.fromAsync(snapshots.list({ snapshotter }, options))).flatMap(({ info }) => info);
  // A collection that the deletions before called for may come first.
  for (const { name } of infos) await absent(snapshots.update({ snapshotter, info: { name } }, options));
}

async function absent(deletion: Promise<unknown>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!isCode(error, 'not_found')) throw error;
  }
}
