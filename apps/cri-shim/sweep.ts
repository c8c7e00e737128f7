import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { snapshotLabel } from './container-create.ts';
import { containerOfKey } from './image-volumes.ts';
import type { Runtime } from './runtime.ts';

/** What a crash left on the host without a record of its pod or container. */
export interface Orphans {
  /** Pods with files or a network namespace. */
  readonly pods: readonly string[];
  /** Pods that are attached to the network. */
  readonly attachments: readonly string[];
  /** Containers with FIFOs or log journals. */
  readonly stdio: readonly string[];
  /** Containers with images as volumes. */
  readonly volumes: readonly string[];
  /** Containers with volumes that their images declare. */
  readonly declaredVolumes: readonly string[];
  /** Root file systems and volumes of containers. */
  readonly snapshots: readonly string[];
}

/** Looks for orphans; called before requests are served, so that nothing new is taken for one. */
export async function orphans(rt: Runtime, recorded: ReadonlySet<string>): Promise<Orphans> {
  const unknown = (ids: Iterable<string>) => [...ids].filter((id) => /^[0-9a-f]{64}$/.test(id) && !recorded.has(id));
  const [pods, attachments, stdio, journals, volumes, declaredVolumes, snapshots] = await Promise.all([
    rt.files.ids(),
    rt.network.attachedIds(),
    rt.stdio.ids(),
    readdir(journalsOf(rt)).catch(() => []),
    rt.volumes.ids(),
    rt.declaredVolumes.ids(),
    rt.core.listSnapshots(snapshotLabel),
  ]);
  return {
    pods: unknown(pods),
    attachments: unknown(attachments),
    stdio: unknown(new Set([...stdio, ...journals])),
    volumes: unknown(volumes),
    declaredVolumes: unknown(declaredVolumes),
    snapshots: snapshots.map(({ key }) => key).filter((key) => unknown([containerOfKey(key)]).length > 0),
  };
}

/** Removes orphans; what can't be removed is logged and found again at the next start. */
export async function sweep(rt: Runtime, found: Orphans): Promise<void> {
  const attempt = async (id: string, what: string, remove: () => unknown) => {
    try {
      await remove();
      rt.log.info({ id }, `removed ${what} of a crash`);
    } catch (error) {
      rt.log.warn({ id, err: error }, `could not remove ${what} of a crash`);
    }
  };
  for (const id of found.attachments) await detachOrphan(rt, id);
  const attached = rt.sandboxes.values().filter(({ metadata, status }) => {
    return metadata.netnsPath !== '' && status.releasedAt === undefined;
  });
  await rt.network.collect(attached.map(({ id }) => id)).catch((error: unknown) => {
    rt.log.warn({ err: error }, 'network plugins could not collect what belongs to no pod');
  });
  for (const id of found.pods) {
    await attempt(id, 'files', async () => {
      rt.files.removeNetns(id);
      await rt.files.remove(id);
    });
  }
  for (const id of found.stdio) {
    await attempt(id, 'output', async () => {
      await rt.stdio.remove(id);
      await rm(join(journalsOf(rt), id), { recursive: true, force: true });
    });
  }
  for (const id of found.volumes) await attempt(id, 'image volumes', () => rt.volumes.remove(id));
  for (const id of found.declaredVolumes) await attempt(id, 'volumes', () => rt.declaredVolumes.remove(id));
  for (const id of found.snapshots) await attempt(id, 'a root file system', () => rt.core.removeSnapshot(id));
}

/** An address that isn't given back is lost for good, so this is tried until it works. */
async function detachOrphan(rt: Runtime, id: string): Promise<void> {
  await using undo = rt.janitor.undo(id);
  undo.add('detach what a crash left on the network', () =>
    rt.network.detach({
      containerId: id,
      handler: '',
      netns: rt.files.netnsPath(id),
      args: [],
      capabilityArgs: {},
    }),
  );
}

/** Where the log manager keeps what isn't in a log yet, by container. */
function journalsOf({ config }: Runtime): string {
  return join(config.state, 'logs');
}
