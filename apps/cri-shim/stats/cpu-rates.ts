/** Two readings closer together than this say little about a rate. Nanoseconds. */
const WINDOW_NS = 1_000_000_000n;
const SECOND_NS = 1_000_000_000n;

interface Reading {
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  /** Nanoseconds of CPU used up to then. */
  readonly used: bigint;
}

/** How much CPU is used at the moment, from readings that come as clients ask for them: a second apart at least. */
export class CpuRates {
  readonly #readings = new WeakMap<object, { base: Reading; latest: Reading }>();

  /**
   * The rate up to a new reading, in nano-cores, since the last reading that is a second old; since `startedAt` for the
   * first one. What is known of `item` goes with it.
   */
  rate(item: object, reading: Reading, startedAt: bigint): bigint {
    const known = this.#readings.get(item) ?? {
      base: { at: startedAt, used: 0n },
      latest: { at: startedAt, used: 0n },
    };
    const base = reading.at - known.latest.at >= WINDOW_NS ? known.latest : known.base;
    this.#readings.set(item, { base, latest: base === known.latest ? reading : known.latest });
    const time = reading.at - base.at;
    const used = reading.used - base.used;
    return time <= 0n || used < 0n ? 0n : (used * SECOND_NS) / time;
  }
}
