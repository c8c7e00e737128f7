import type { LayerProgress, Progress } from './progress.ts';

/** What is counted since the daemon started. */
export interface TransferCounts {
  /** Bytes received from registries, also those that turned out wrong. */
  fetchedBytes: number;
  /** Bytes that an earlier, broken-off transfer had left and that were not fetched again. */
  resumedBytes: number;
  /** Blobs fetched whole. */
  fetchedBlobs: number;
  /** Blobs that were there already, or that another pull brought while this one waited. */
  sharedBlobs: number;
  /** Blobs whose bytes were not what their digest says. */
  damagedBlobs: number;
  /** Times that a server broke off, or that its bytes were wrong. */
  failures: number;
  /** Times that a server had stopped sending. */
  stalls: number;
}

export const pullOutcomes = ['succeeded', 'failed', 'canceled'] as const;
export type PullOutcome = (typeof pullOutcomes)[number];

/** Told of each pull that has ended. */
export type PullObserver = (outcome: PullOutcome, seconds: number) => void;

/** A layer of a pull under way. */
export interface ActiveLayer extends LayerProgress {
  /** The image's name. */
  readonly image: string;
}

/** Figures of pulls, for whoever serves them as metrics. */
export class TransferMetrics {
  readonly #counts: TransferCounts = {
    fetchedBytes: 0,
    resumedBytes: 0,
    fetchedBlobs: 0,
    sharedBlobs: 0,
    damagedBlobs: 0,
    failures: 0,
    stalls: 0,
  };
  readonly #pulls: Record<PullOutcome, number> = { succeeded: 0, failed: 0, canceled: 0 };
  readonly #observers = new Set<PullObserver>();
  readonly #running = new Set<Progress>();

  get counts(): Readonly<TransferCounts> {
    return this.#counts;
  }

  /** Pulls that have ended. */
  get pulls(): Readonly<Record<PullOutcome, number>> {
    return this.#pulls;
  }

  get running(): number {
    return this.#running.size;
  }

  /** The layers that are on their way or being unpacked now, with their stage, bytes, rate and what time is left. */
  layers(): ActiveLayer[] {
    return [...this.#running].flatMap((progress) =>
      progress.layers().map((layer) => ({ ...layer, image: progress.image })),
    );
  }

  onPull(observer: PullObserver): void {
    this.#observers.add(observer);
  }

  count(what: keyof TransferCounts, by = 1): void {
    this.#counts[what] += by;
  }

  /** Counts a pull while it runs, and how it ends. */
  async follow<T>(progress: Progress, signal: AbortSignal, pull: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    this.#running.add(progress);
    let outcome: PullOutcome = 'failed';
    try {
      const result = await pull();
      outcome = 'succeeded';
      return result;
    } catch (error) {
      if (signal.aborted) outcome = 'canceled';
      throw error;
    } finally {
      this.#running.delete(progress);
      this.#pulls[outcome]++;
      for (const observe of this.#observers) observe(outcome, (performance.now() - begin) / 1000);
    }
  }
}
