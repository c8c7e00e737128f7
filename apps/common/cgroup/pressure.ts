import { linesOf } from './kernel-files.ts';

/** How long, and in which share of the time, tasks waited for a resource: averages in percent, `total` in µs. */
export interface Pressure {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: string | undefined;
}

export interface Pressures {
  readonly some: Pressure | undefined;
  readonly full: Pressure | undefined;
}

/** Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`; undefined where the kernel has no PSI. */
export function pressuresOf(text: string | undefined): Pressures | undefined {
  if (text === undefined) return undefined;
  const of = (kind: string): Pressure | undefined => {
    const pairs = linesOf(text)
      .find((line) => line.startsWith(`${kind} `))
      ?.split(' ')
      .slice(1);
    if (pairs === undefined) return undefined;
    const values = new Map(pairs.map((pair) => pair.split('=', 2) as [string, string]));
    const average = (name: string): number => Number(values.get(name) ?? 0);
    return { avg10: average('avg10'), avg60: average('avg60'), avg300: average('avg300'), total: values.get('total') };
  };
  return { some: of('some'), full: of('full') };
}
