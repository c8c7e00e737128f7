import type { Figures } from '../core/figures.ts';
import type { BenchRuntime } from '../runtime.ts';

export interface StreamsSide {
  readonly runtime: BenchRuntime;
  readonly figures: Figures;
  /** For logs of pods, and whatever else a measure has to put somewhere. */
  readonly dir: string;
}

/** Leaves no pod behind. */
export type StreamsMeasure = (sides: readonly StreamsSide[]) => Promise<void>;

/** Rounds in turn, so that neither side always runs in the other's wake. */
export async function inTurn<S>(sides: readonly S[], rounds: number, work: (side: S) => Promise<void>): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? sides : [...sides].reverse()) await work(side);
  }
}
