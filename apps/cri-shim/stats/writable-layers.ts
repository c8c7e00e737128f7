import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import { nowNs } from '#common/timestamp.ts';

export interface LayerUsage {
  /** When it was counted, in nanoseconds since the epoch. */
  readonly at: bigint;
  /** Decimal. */
  readonly bytes: string;
  readonly inodes: string;
}

/** Whose layer it is; what is known of it goes with the object. */
interface Layer {
  readonly id: string;
}

/** Counting walks through all files of a container, so it is done again only after this time. */
const FRESH_NS = 30_000_000_000n;
/** How long a caller waits for a first count; later the last one is as good. */
const PATIENCE_MS = 1000;

/** Disk usage of containers' writable layers: counted behind the calls, one container at a time. */
export class WritableLayers {
  readonly #count: (id: string) => Promise<{ size: string; inodes: string }>;
  readonly #known = new WeakMap<Layer, LayerUsage>();
  readonly #counting = new WeakMap<Layer, Promise<void>>();
  #last: Promise<void> = Promise.resolve();

  /** @param count space on disk and inodes of one layer; may reject with not_found */
  constructor(count: (id: string) => Promise<{ size: string; inodes: string }>) {
    this.#count = count;
  }

  /** The last count, while a new one is made if that is old; undefined when there is none in time. */
  async usage(layer: Layer): Promise<LayerUsage | undefined> {
    const known = this.#known.get(layer);
    if (known !== undefined && nowNs() - known.at < FRESH_NS) return known;
    const counted = this.#refresh(layer);
    if (known !== undefined) return known;
    const patience = new AbortController();
    const timeout = sleep(PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([counted, timeout]);
    patience.abort();
    return this.#known.get(layer);
  }

  #refresh(layer: Layer): Promise<void> {
    const running = this.#counting.get(layer);
    if (running !== undefined) return running;
    const counting = this.#last
      .then(async () => {
        const { size, inodes } = await this.#count(layer.id);
        this.#known.set(layer, { at: nowNs(), bytes: size, inodes });
      })
      .catch((error: unknown) => {
        // Whatever hinders it, the next question tries again; a layer that is gone has no usage.
        if (isCode(error, 'not_found')) this.#known.delete(layer);
      })
      .finally(() => this.#counting.delete(layer));
    this.#counting.set(layer, counting);
    this.#last = counting;
    return counting;
  }
}
