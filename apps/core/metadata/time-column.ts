/**
 * Points of time in the database: whole microseconds since the epoch, as fine as a number holds exactly. Clients compare
 * them with their own clock before and after a call, so milliseconds are too coarse.
 */

const nsPerMicrosecond = 1000n;

/** The wall clock, cut to what a column holds: what is told at once is what is read back later. */
export function timeNow(): Temporal.Instant {
  return Temporal.Now.instant().round({ smallestUnit: 'microsecond', roundingMode: 'floor' });
}

export function timeToColumn(time: Temporal.Instant): number {
  return Number(time.epochNanoseconds / nsPerMicrosecond);
}

export function timeFromColumn(microseconds: number): Temporal.Instant {
  return Temporal.Instant.fromEpochNanoseconds(BigInt(microseconds) * nsPerMicrosecond);
}
