import { formatSize, formatSpan } from '../output/format.ts';
import type { ProgressMessage } from './progress-stream.ts';

/** How long a rate looks back. */
const windowMs = 3000;
const barWidth = 20;
const moving = ['downloading', 'uploading', 'extracting'];

/** How the transfer of one blob stands. */
export interface BlobState {
  /** As the daemon calls it: waiting, downloading, uploading, complete, already exists, extracting, extracted. */
  readonly event: string;
  readonly done: number;
  readonly total: number;
  /** Bytes per second over the last seconds; 0 when unknown. */
  readonly rate: number;
}

/** Follows the blobs of a transfer by their names (`layer-sha256:…`). */
export class TransferProgress {
  readonly #states = new Map<string, BlobState>();
  readonly #samples = new Map<string, { readonly at: number; readonly done: number }[]>();
  readonly #clock: () => number;

  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
  }

  /** Answers the blob's new state. */
  add({ event, name, progress, total }: Pick<ProgressMessage, 'event' | 'name' | 'progress' | 'total'>): BlobState {
    const done = Number(progress);
    const state = { event, done, total: Number(total), rate: this.#rate(`${event} ${name}`, done) };
    this.#states.set(name, state);
    return state;
  }

  get(name: string): BlobState | undefined {
    return this.#states.get(name);
  }

  #rate(key: string, done: number): number {
    const now = this.#clock();
    const before = this.#samples.get(key) ?? [];
    const kept = [...before.filter(({ at }) => now - at <= windowMs), { at: now, done }];
    this.#samples.set(key, kept);
    const first = kept[0];
    return first === undefined || first.at === now ? 0 : Math.max(0, ((done - first.done) * 1000) / (now - first.at));
  }
}

/** `██████░░░░  3.1 MiB/6.2 MiB  1.2 MiB/s  3s left` while bytes move, else a word on the state. */
export function describeBlob({ event, done, total, rate }: BlobState): string {
  if (!moving.includes(event)) return total > 0 ? `${event}, ${formatSize(total)}` : event;
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.floor(share * barWidth);
  const parts = [
    `${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}`,
    `${formatSize(done)}/${formatSize(total)}`,
    `${formatSize(rate)}/s`,
    rate > 0 && total > 0 ? `${formatSpan(((total - done) * 1000) / rate)} left` : '',
    event === 'extracting' ? 'unpacking' : '',
  ];
  return parts.filter((part) => part !== '').join('  ');
}
