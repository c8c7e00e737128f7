import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { version } from '../version.ts';
import { countCalls } from './call-metrics.ts';

/** The metrics of one daemon. Figures that something else keeps are asked for when somebody reads them. */
export class MetricsRegistry extends Registry implements Disposable {
  readonly #undo = new DisposableStack();

  /** Begins with what both daemons have: the process, Node's event loop and heap, the version, calls. */
  constructor(daemon: string) {
    super();
    collectDefaultMetrics({ register: this });
    this.gauge('berth_build_info', 'Version of the daemon; always 1.', ['daemon', 'version'] as const, (set) => {
      set({ daemon, version }, 1);
    });
    this.follow(countCalls(this));
  }

  gauge<const L extends string>(name: string, help: string, labelNames: readonly L[], read: Read<L>): void {
    const metric = new Gauge({
      name,
      help,
      labelNames,
      registers: [this],
      collect: () => {
        metric.reset();
        read((labels, value) => metric.set(labels, value));
      },
    });
  }

  /** For a number that something else counts up. */
  counter<const L extends string>(name: string, help: string, labelNames: readonly L[], read: Read<L>): void {
    const metric = new Counter({
      name,
      help,
      labelNames,
      registers: [this],
      collect: () => {
        metric.reset();
        read((labels, value) => metric.inc(labels, value));
      },
    });
  }

  /** @param buckets upper bounds, in seconds */
  histogram<const L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: number[],
  ): Histogram<L> {
    return new Histogram({ name, help, labelNames, buckets, registers: [this] });
  }

  /** Ends with the registry. */
  follow(following: Disposable): void {
    this.#undo.use(following);
  }

  [Symbol.dispose](): void {
    this.#undo.dispose();
  }
}

type Read<L extends string> = (set: (labels: Record<L, string>, value: number) => void) => void;
