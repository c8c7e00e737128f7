import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { ifFound } from '../if-found.ts';
import { formatSize } from '../output/format.ts';
import type { Act, Session } from '../session.ts';
import { explainDisk } from './gc-explain.ts';

/** What there is of one kind, by name, with its bytes on disk. */
type Holdings = ReadonlyMap<string, number>;

/** `berth gc` */
export function gcVerb(program: Command, act: Act): void {
  program
    .command('gc')
    .description('collect now, in all namespaces, what nothing uses, and tell what that freed')
    .option('--explain', 'collect nothing: name what is on disk, what it takes, and who needs it')
    .action(({ explain = false }: { explain?: boolean }) => act(explain ? explainDisk : collect));
}

/**
 * Has the daemon collect, as the deletion of a lease does that waits for it (containerd's docs/garbage-collection.md),
 * and tells what is gone since.
 */
async function collect(session: Session): Promise<void> {
  const before = await holdings(session);
  const id = `berth-gc-${randomUUID()}`;
  await session.core.leases.create({ id }, session);
  await session.core.leases.delete({ id, sync: true }, session);
  const after = await holdings(session);
  const freed = { blobs: gone(before.blobs, after.blobs), snapshots: gone(before.snapshots, after.snapshots) };
  session.print(() => {
    const { blobs, snapshots } = freed;
    return `freed ${count(blobs, 'blob')} and ${count(snapshots, 'snapshot')}, ${formatSize(blobs.bytes + snapshots.bytes)}`;
  }, freed);
}

async function holdings(session: Session): Promise<{ readonly blobs: Holdings; readonly snapshots: Holdings }> {
  const { core, signal } = session;
  const blobs = new Map<string, number>();
  const snapshots = new Map<string, number>();
  const snapshotters = await snapshotterNames(session);
  const { namespaces } = await core.namespaces.list({}, session);
  for (const { name: namespace } of namespaces) {
    const call = { namespace, signal };
    // The bytes of a blob are there once, however many namespaces have it.
    for await (const { info } of core.content.list({}, call)) {
      for (const { digest, size } of info) blobs.set(digest, Number(size));
    }
    for (const snapshotter of snapshotters) {
      for await (const { info } of core.snapshots.list({ snapshotter }, call)) {
        for (const { name: key } of info) {
          const usage = await ifFound(core.snapshots.usage({ snapshotter, key }, call));
          if (usage !== undefined) snapshots.set(`${namespace}\0${snapshotter}\0${key}`, Number(usage.size));
        }
      }
    }
  }
  return { blobs, snapshots };
}

async function snapshotterNames(session: Session): Promise<string[]> {
  const { plugins } = await session.core.introspection.plugins({ filters: [] }, session);
  const loaded = plugins.filter(({ type, initErr }) => type === 'io.containerd.snapshotter.v1' && initErr === null);
  return loaded.map(({ id }) => id);
}

function gone(before: Holdings, after: Holdings): { readonly count: number; readonly bytes: number } {
  const sizes = [...before].filter(([name]) => !after.has(name)).map(([, size]) => size);
  return { count: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

function count({ count }: { readonly count: number }, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
