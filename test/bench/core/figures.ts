import Table from 'cli-table3';
import { median } from '../statistics.ts';
import type { BenchSide } from './side.ts';

/** What is measured of one side, by label, once per round; units are part of the label. */
export class Figures {
  readonly #rounds = new Map<string, number[]>();

  add(label: string, value: number): void {
    this.of(label).push(value);
  }

  labels(): Iterable<string> {
    return this.#rounds.keys();
  }

  /** A value of each round. */
  of(label: string): number[] {
    return this.#rounds.getOrInsertComputed(label, () => []);
  }

  /** Makes calls one after another: the median of their times, and the daemon's CPU per call. */
  async calls(label: string, side: BenchSide, count: number, call: (index: number) => Promise<unknown>): Promise<void> {
    const cpu = side.cpu.usedMs();
    const times: number[] = [];
    for (let index = 0; index < count; index++) times.push(await timed(() => call(index)));
    this.add(`${label}, ms`, median(times));
    this.add(`${label}, ms of CPU`, (side.cpu.usedMs() - cpu) / count);
  }
}

/** Milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/**
 * One row per label: the medians of all rounds, and the ratio of each round with the same round of the other side, as
 * median and range. Rates ("/s") count as better when higher, and have their ratio turned over.
 */
export function figuresTable(names: readonly string[], [ours, theirs]: readonly Figures[]): string {
  const lines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const style = { head: [], border: [] };
  const table = new Table({ head: ['', ...names, 'ratio', 'of rounds'], chars: lines, style });
  for (const label of ours?.labels() ?? []) {
    const values = [ours, theirs].map((figures) => figures?.of(label) ?? []) as [number[], number[]];
    const [numerators, denominators] = label.endsWith('/s') ? values.toReversed() : values;
    const ratios = numerators?.map((value, round) => value / (denominators?.[round] ?? Number.NaN)) ?? [];
    const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`;
    const [middle, ...medians] = [ratios, ...values].map((of) => median(of).toFixed(2));
    table.push([label, ...medians, middle ?? '', ratios.length > 1 ? range : '']);
  }
  return `${table.toString()}\nratio: below 1 is better than ${names[1]}`;
}
