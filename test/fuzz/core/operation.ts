import type { Random } from '../../support/random.ts';
import type { Side } from './side.ts';

/** A kind of API call: how its arguments are made up, and how it is made. */
export interface Operation {
  /** How often it is chosen, against the others. */
  readonly weight: number;
  generate(random: Random): unknown;
  /** What came of it, with everything in it that a client may rely on. */
  run(side: Side, args: never): Promise<unknown>;
}

export type Operations = Readonly<Record<string, Operation>>;

/** One call of a sequence. The arguments say everything: the same steps can be taken again anywhere. */
export interface Step {
  readonly call: string;
  readonly args: unknown;
}

/** An operation whose arguments are of one type in both places. */
export function operation<A>(
  weight: number,
  generate: (random: Random) => A,
  run: (side: Side, args: A) => Promise<unknown>,
): Operation {
  return { weight, generate, run };
}

/** `length` steps, each of an operation picked by weight. */
export function generateSteps(operations: Operations, random: Random, length: number): Step[] {
  const wheel = Object.entries(operations).flatMap(([call, { weight }]) => Array<string>(weight).fill(call));
  return Array.from({ length }, () => {
    const call = random.pick(wheel);
    return { call, args: (operations[call] as Operation).generate(random) };
  });
}
