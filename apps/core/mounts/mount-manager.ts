import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { Labels } from '#common/labels.ts';
import type { Logger } from '#common/log.ts';
import { type FsMount, mountOn } from '#common/mount.ts';
import { nowNs } from '#common/timestamp.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, updateLabels } from '../metadata/labels.ts';
import type { ActivateRequest, Activation, ActiveMount } from './activation.ts';
import { MountPlace } from './mount-place.ts';
import { type TransformedType, transformsOf } from './transforms.ts';

export interface MountManagerParts {
  /** Directory of all activations; made when missing. Volatile: a reboot may take it. */
  readonly directory: string;
  /** Directories in which mounts may have others made. */
  readonly roots: readonly string[];
  /** Whether something still needs an activation: its lease, or what its labels refer back to. */
  readonly isNeeded: (activation: Activation) => boolean;
  readonly log: Logger;
}

interface Kept {
  readonly activation: Activation;
  readonly place: MountPlace;
}

/**
 * Mounts that the daemon makes for its clients: those that need something that mount(2) doesn't do, and temporary ones.
 * They stay while the daemon restarts, until they are deactivated or nothing needs them any more.
 */
export class MountManager {
  readonly #parts: MountManagerParts;
  readonly #kept = new Map<string, Kept>();
  /** Activations and deactivations of one name, one after another. */
  readonly #queue = new KeyedQueue();
  /** Directories of activations under way: no rubbish. */
  readonly #underWay = new Set<string>();
  #next = 1;

  /** Takes up what an earlier daemon left, as far as it is whole; the rest goes with the first collection. */
  constructor(parts: MountManagerParts) {
    this.#parts = parts;
    mkdirSync(parts.directory, { recursive: true, mode: 0o700 });
    for (const name of this.#directories()) {
      this.#next = Math.max(this.#next, Number(name) + 1);
      const place = new MountPlace(join(parts.directory, name));
      const activation = this.#load(place);
      if (activation !== undefined) this.#kept.set(keyOf(activation.ns, activation.name), { activation, place });
    }
  }

  /**
   * Mounts what the client can't mount as it is, and answers what is left for it.
   * @throws unimplemented when it can mount all of it itself, and for a transform that isn't known; already_exists for a
   *   name that is active; invalid_argument; what mount(2) fails with.
   */
  activate(request: ActivateRequest): Promise<Activation> {
    const { ns, name, mounts, temporary } = request;
    if (name === '') throw new BerthError('invalid_argument', 'an activation needs a name');
    const { roots, directory } = this.#parts;
    const types = mounts.map(({ type }) => transformsOf(type, [directory, ...roots]));
    const ours = temporary ? mounts.length : types.findLastIndex(({ transforms }) => transforms.length > 0);
    if (ours < 0 || mounts.length === 0) {
      const kinds = [...new Set(mounts.map(({ type }) => type))].join(', ');
      throw new BerthError(
        'unimplemented',
        `mounts of "${name}" (${kinds}) need no activation: mount them as they are`,
      );
    }
    return this.#queue.run(keyOf(ns, name), () => this.#activate(request, types, ours));
  }

  /** Unmounts in reverse order. @throws not_found; failed_precondition while a mount is in use, which is tried again later */
  deactivate(ns: string, name: string): Promise<void> {
    return this.#queue.run(keyOf(ns, name), () => {
      const { place } = this.#require(ns, name);
      this.#kept.delete(keyOf(ns, name));
      place.clear();
    });
  }

  /** @throws not_found */
  info(ns: string, name: string): Activation {
    return this.#require(ns, name).activation;
  }

  /** Replaces labels, as fieldpaths name them. @throws not_found; invalid_argument for any other path. */
  update(ns: string, name: string, labels: Labels, fieldpaths: readonly string[] | undefined): Promise<Activation> {
    return this.#queue.run(keyOf(ns, name), async () => {
      const { activation, place } = this.#require(ns, name);
      const updated = { ...activation, labels: updateLabels(activation.labels, labels, fieldpaths, `mount "${name}"`) };
      await place.save(updated);
      this.#kept.set(keyOf(ns, name), { activation: updated, place });
      return updated;
    });
  }

  /** Activations of a namespace that match any of the filters, by name. @throws invalid_argument for a bad filter */
  list(ns: string, filters?: readonly string[]): Activation[] {
    const matches = matcher(filters);
    return [...this.#kept.values()]
      .map(({ activation }) => activation)
      .filter((one) => one.ns === ns && matches({ fields: { name: one.name }, maps: { labels: one.labels } }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Unmounts what nothing needs any more, and what was left half done. What is in use waits for the next time. */
  async collect(): Promise<void> {
    const { directory, isNeeded } = this.#parts;
    for (const { activation } of [...this.#kept.values()]) {
      const { ns, name } = activation;
      await this.#queue.run(keyOf(ns, name), () => {
        const kept = this.#kept.get(keyOf(ns, name));
        if (kept === undefined || isNeeded(kept.activation)) return;
        this.#kept.delete(keyOf(ns, name));
        this.#clear(kept.place);
      });
    }
    const inUse = new Set([...this.#kept.values()].map(({ place }) => place.path));
    for (const name of this.#directories()) {
      const path = join(directory, name);
      if (!inUse.has(path) && !this.#underWay.has(path)) this.#clear(new MountPlace(path));
    }
  }

  async #activate(request: ActivateRequest, types: readonly TransformedType[], ours: number): Promise<Activation> {
    const { ns, name, mounts, temporary, lease } = request;
    if (this.#kept.has(keyOf(ns, name))) throw new BerthError('already_exists', `mount "${name}" already exists`);
    const labels = cleanLabels(request.labels);
    const path = join(this.#parts.directory, String(this.#next++));
    const place = new MountPlace(path);
    mkdirSync(path, { mode: 0o700 });
    this.#underWay.add(path);
    try {
      const active: ActiveMount[] = [];
      for (const [index, mount] of mounts.slice(0, ours).entries()) {
        const made = transformed(mount, types[index], active);
        const mountPoint = place.mountPoint(index);
        mountOne(made, mountPoint);
        active.push({ mount: made, mountPoint, mountedAt: nowNs().toString() });
      }
      const [first, ...rest] = mounts.slice(ours);
      const system = first === undefined ? [] : [transformed(first, types[ours], active), ...rest];
      const last = active.at(-1);
      if (temporary && last !== undefined) {
        system.push({ type: 'bind', source: last.mountPoint, target: '', options: ['rbind'] });
      }
      const activation = { ns, name, active, system, labels, lease };
      await place.save(activation);
      this.#kept.set(keyOf(ns, name), { activation, place });
      return activation;
    } catch (error) {
      this.#clear(place);
      throw BerthError.from(error, `activate "${name}"`);
    } finally {
      this.#underWay.delete(path);
    }
  }

  #require(ns: string, name: string): Kept {
    const kept = this.#kept.get(keyOf(ns, name));
    if (kept === undefined) throw new BerthError('not_found', `mount "${name}" not found`);
    return kept;
  }

  /** A record that can't be read is the same as none. */
  #load(place: MountPlace): Activation | undefined {
    try {
      return place.load();
    } catch (error) {
      this.#parts.log.warn({ path: place.path, err: error }, 'activated mounts can not be read, and go');
      return undefined;
    }
  }

  #clear(place: MountPlace): void {
    try {
      place.clear();
    } catch (error) {
      this.#parts.log.warn({ path: place.path, err: error }, 'activated mounts left over');
    }
  }

  #directories(): string[] {
    return readdirSync(this.#parts.directory).filter((name) => /^[1-9]\d*$/.test(name));
  }
}

function transformed(mount: FsMount, type: TransformedType | undefined, active: readonly ActiveMount[]): FsMount {
  if (type === undefined) return mount;
  return type.transforms.reduce((made, transform) => transform(made, active), { ...mount, type: type.type });
}

function mountOne(mount: FsMount, mountPoint: string): void {
  try {
    mountOn(mount, mountPoint);
  } catch (error) {
    throw BerthError.from(error, `mount ${mount.type} from ${mount.source}`);
  }
}

function keyOf(ns: string, name: string): string {
  return `${ns}\0${name}`;
}
