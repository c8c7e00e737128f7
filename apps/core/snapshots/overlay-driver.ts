import { chmodSync, chownSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { flush } from '#common/flush.ts';
import type { Labels } from '#common/labels.ts';
import { bindMount, filesOf, type SnapshotDriver, type SnapshotFiles } from './driver.ts';
import { idMappingOf } from './id-mapping.ts';
import type { Mount } from './snapshotter.ts';

/**
 * Snapshots for overlayfs: `fs` holds what the snapshot changes, `work`, which only writable ones have, is the kernel's.
 * Where there is one layer only a bind mount does.
 */
export class OverlayDriver implements SnapshotDriver {
  readonly name = 'overlayfs';
  readonly #mapsLayers: () => boolean;
  #capabilities: readonly string[] | undefined;
  // Kernels that index by default refuse a lower directory that was an upper one elsewhere: index=off, where known.
  readonly #options = existsSync('/sys/module/overlay/parameters/index') ? ['index=off'] : [];

  /** @param mapsLayers whether whoever mounts can map the ids of layers; asked once, when it first matters */
  constructor(mapsLayers: () => boolean) {
    this.#mapsLayers = mapsLayers;
  }

  /** With `remap-ids` the mounts of a snapshot with an id mapping map its layers; without, clients change owners. */
  get capabilities(): readonly string[] {
    this.#capabilities ??= this.#mapsLayers() ? ['remap-ids'] : [];
    return this.#capabilities;
  }

  /**
   * The root directory of a snapshot keeps owner and mode of the one below: overlayfs shows the topmost. Each of these calls
   * takes less time than a hop through the thread pool.
   */
  async fill({ directory, kind, parents, labels }: SnapshotFiles): Promise<void> {
    mkdirSync(filesOf(directory));
    if (kind === 'active') mkdirSync(join(directory, 'work'), { mode: 0o711 });
    ownRoot({ directory, kind, parents, labels });
  }

  rebase(files: SnapshotFiles): void {
    ownRoot(files);
    // What was unpacked is synced already, and the record must not outlive this.
    flush(filesOf(files.directory));
  }

  mounts({ directory, kind, parents, labels }: SnapshotFiles): Mount[] {
    const fs = filesOf(directory);
    const mapped = this.#mapOptions(labels);
    const [nearest] = parents;
    if (nearest === undefined) return [bindMount(fs, kind === 'active' ? 'rw' : 'ro', mapped)];
    if (kind === 'view' && parents.length === 1) return [bindMount(filesOf(nearest), 'ro', mapped)];
    const options = [...mapped, ...this.#options];
    if (kind === 'active') options.push(`workdir=${join(directory, 'work')}`, `upperdir=${fs}`);
    options.push(`lowerdir=${parents.map(filesOf).join(':')}`);
    return [{ type: 'overlay', source: 'overlay', options }];
  }

  /** Mount options for the mapping that the labels ask for. */
  #mapOptions(labels: Labels): string[] {
    const mapping = idMappingOf(labels);
    if (mapping === undefined || !this.capabilities.includes('remap-ids')) return [];
    return [
      ...(mapping.uids === '' ? [] : [`uidmap=${mapping.uids}`]),
      ...(mapping.gids === '' ? [] : [`gidmap=${mapping.gids}`]),
    ];
  }
}

/** Gives the root directory of a snapshot the mode and the owner that it shows. */
function ownRoot({ directory, parents, labels }: SnapshotFiles): void {
  const fs = filesOf(directory);
  const [nearest] = parents;
  const below = nearest === undefined ? undefined : statSync(filesOf(nearest));
  const { uid, gid } = idMappingOf(labels)?.root ?? below ?? { uid: 0, gid: 0 };
  // A change of owner drops setuid bits, so it comes first.
  chownSync(fs, uid, gid);
  chmodSync(fs, below ? below.mode & 0o7777 : 0o755);
}
