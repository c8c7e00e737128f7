import Table from 'cli-table3';
import { median } from '../statistics.ts';
import type { BenchSide } from './side.ts';

/** What is measured of one side, by label; units are part of the label. */
export class Figures {
  readonly values = new Map<string, number>();

  set(label: string, value: number): void {
    this.values.set(label, value);
  }

  /** Makes calls one after another: the median of their times, and the daemon's CPU per call. */
  async calls(label: string, side: BenchSide, count: number, call: (index: number) => Promise<unknown>): Promise<void> {
    const cpu = side.cpu.usedMs();
    const times: number[] = [];
    for (let index = 0; index < count; index++) times.push(await timed(() => call(index)));
    this.set(`${label}, ms`, median(times));
    this.set(`${label}, ms of CPU`, (side.cpu.usedMs() - cpu) / count);
  }
}

/** Milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** One row per label; rates ("/s") count as better when higher, and have their ratio turned over. */
export function figuresTable(names: readonly string[], figures: readonly Figures[]): string {
  const lines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const style = { head: [], border: [] };
  const table = new Table({ head: ['', ...names, 'ratio'], chars: lines, style });
  for (const label of figures[0]?.values.keys() ?? []) {
    const values = figures.map(({ values: of }) => of.get(label) ?? Number.NaN);
    const [ours, theirs] = values as [number, number];
    const ratio = label.endsWith('/s') ? theirs / ours : ours / theirs;
    table.push([label, ...values.map((value) => value.toFixed(2)), ratio.toFixed(2)]);
  }
  return `${table.toString()}\nratio: below 1 is better than ${names[1]}`;
}
