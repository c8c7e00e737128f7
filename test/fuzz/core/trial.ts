import { isDeepStrictEqual } from 'node:util';
import { type Difference, explain, faults } from './differences.ts';
import { EventRecorder } from './event-recorder.ts';
import { keep } from './inputs.ts';
import type { Operation, Operations, Step } from './operation.ts';
import { clear, collect, remains } from './remains.ts';
import type { Outcome, Side } from './side.ts';
import { makeTaskContainers, taskOperations } from './task-operations.ts';

/** Where two daemons part, in words. */
export interface Mismatch {
  /** What the client did: a call, or a look at what is left. */
  readonly at: string;
  readonly args?: unknown;
  readonly ours: unknown;
  readonly theirs: unknown;
}

/**
 * Takes the steps on berthd and, side by side, on its peer, in namespaces of their own, and tells the first difference
 * that no entry of `differences` explains. Without a peer it is a fault of berthd alone that counts. Afterwards
 * everything is cleared away, which must succeed on either side.
 */
export class Trial {
  readonly #ours: Side;
  readonly #theirs: Side | undefined;
  readonly #operations: Operations;
  readonly #differences: readonly Difference[];
  #count = 0;
  /** Whether the sides have parted in a known way: nothing is compared any more. */
  #diverged = false;

  constructor(operations: Operations, ours: Side, theirs: Side | undefined, differences: readonly Difference[]) {
    this.#operations = operations;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#differences = differences;
  }

  async run(steps: readonly Step[]): Promise<Mismatch | undefined> {
    this.#count += 1;
    for (const side of this.#sides) side.enter(`fuzz-${process.pid}-${this.#count}`);
    await this.#onEach(begin);
    if (steps.some(({ call }) => call in taskOperations)) await this.#onEach(makeTaskContainers);
    const recorders = await Promise.all(this.#sides.map((side) => EventRecorder.start(side)));
    this.#diverged = false;
    const mismatch = (await this.#takeSteps(steps)) ?? (await this.#compareRuns('what is there', undefined, remains));
    const [ours, theirs] = await Promise.all(recorders.map((recorder) => recorder.stop()));
    const heard = this.#compare('events', undefined, { result: ours }, theirs && { result: theirs });
    await this.#onEach(collect);
    const left = await this.#compareRuns('what is left after a collection', undefined, remains);
    const cleared = await this.#compareRuns('clearing it away', undefined, clear);
    return mismatch ?? heard ?? left ?? cleared;
  }

  get #sides(): Side[] {
    return this.#theirs === undefined ? [this.#ours] : [this.#ours, this.#theirs];
  }

  async #takeSteps(steps: readonly Step[]): Promise<Mismatch | undefined> {
    for (const { call, args } of steps) {
      const { run } = this.#operations[call] as Operation;
      const mismatch = await this.#compareRuns(call, args, (side) => run(side, args as never));
      if (mismatch !== undefined || this.#diverged) return mismatch;
    }
    return undefined;
  }

  async #compareRuns(at: string, args: unknown, run: (side: Side) => Promise<unknown>): Promise<Mismatch | undefined> {
    const [ours, theirs] = await Promise.all(this.#sides.map((side) => side.outcome(() => run(side))));
    return this.#compare(at, args, ours as Outcome, theirs);
  }

  #compare(at: string, args: unknown, ours: Outcome, theirs: Outcome | undefined): Mismatch | undefined {
    if (theirs === undefined) {
      return faults.includes(ours.code ?? '') ? { at, args, ours, theirs: 'no fault' } : undefined;
    }
    if (this.#diverged || (ours.code === theirs.code && isDeepStrictEqual(ours.result, theirs.result)))
      return undefined;
    const verdict = explain(this.#differences, { at, args, ours, theirs });
    this.#diverged = verdict === 'diverged';
    return verdict === 'unknown' ? { at, args, ours, theirs } : undefined;
  }

  async #onEach(work: (side: Side) => Promise<void>): Promise<void> {
    await Promise.all(this.#sides.map(work));
  }
}

async function begin(side: Side): Promise<void> {
  for (const ns of ['main', 'other']) {
    await side.clients.namespaces.create({ namespace: { name: side.namespace(ns) } });
    await side.clients.leases.create({ id: keep }, side.options({ ns }));
  }
}
