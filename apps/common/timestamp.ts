/** `google.protobuf.Timestamp` in the shape of the generated types: 64 bits as decimal string. */
export interface Timestamp {
  readonly seconds: string;
  readonly nanos: number;
}

const nsPerSecond = 1_000_000_000n;
const nsPerMs = 1_000_000n;

/** What other types a timestamp field may come in (the generated types to send are loose). */
type LooseTimestamp = { seconds?: number | string | { toString(): string }; nanos?: number } | null | undefined;

/** Nanoseconds since the epoch → Timestamp. `nanos` is 0..999999999 also before the epoch, as the protocol wants. */
export function timestampFromNs(ns: bigint): Timestamp {
  const nanos = ((ns % nsPerSecond) + nsPerSecond) % nsPerSecond;
  return {
    seconds: ((ns - nanos) / nsPerSecond).toString(),
    nanos: Number(nanos),
  };
}

/** Timestamp → nanoseconds since the epoch, exactly; an absent timestamp is 0. */
export function timestampToNs(timestamp: LooseTimestamp): bigint {
  if (timestamp === null || timestamp === undefined) return 0n;
  return BigInt(String(timestamp.seconds ?? 0)) * nsPerSecond + BigInt(timestamp.nanos ?? 0);
}

export function timestampFromInstant(instant: Temporal.Instant): Timestamp {
  return timestampFromNs(instant.epochNanoseconds);
}

export function timestampFromDate(date: Date): Timestamp {
  return timestampFromNs(BigInt(date.getTime()) * nsPerMs);
}

/** Timestamp → Date, cut to milliseconds. */
export function timestampToDate(timestamp: LooseTimestamp): Date {
  return new Date(Number(timestampToNs(timestamp) / nsPerMs));
}

/** The wall clock in nanoseconds since the epoch, as fine as `Date` is: whole milliseconds. */
export function nowNs(): bigint {
  return BigInt(Date.now()) * nsPerMs;
}

export function timestampNow(): Timestamp {
  return timestampFromNs(nowNs());
}

/** RFC 3339 with nine digits of a second, in UTC: `2026-01-02T03:04:05.000000006Z`. */
export function formatNs(ns: bigint): string {
  const { seconds, nanos } = timestampFromNs(ns);
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${whole}.${nanos.toString().padStart(9, '0')}Z`;
}

/** RFC 3339 with any fraction → nanoseconds since the epoch; `undefined` when the text is no time. */
export function parseRfc3339(text: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (match === null) return undefined;
  const ms = Date.parse(`${match[1]}${match[3]}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * nsPerMs + BigInt((match[2] ?? '').padEnd(9, '0'));
}
