import { nowNs } from '#common/timestamp.ts';

/** The time in nanoseconds since the epoch, in decimal, as records keep it. */
export function now(): string {
  return nowNs().toString();
}
