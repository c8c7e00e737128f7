import { sha256 } from '#common/digest.ts';
import { timestampToNs } from '#common/timestamp.ts';

const times = new Set(['createdAt', 'updatedAt', 'startedAt', 'exitedAt', 'timestamp']);
const pids = new Set(['pid', 'containerPid']);

/**
 * A message without what differs between any two runs: of a time is kept whether it is set and whether an update is
 * later than the creation, of a process id whether there is one, of bytes their number and a digest.
 */
export function normalize(value: unknown, text: (value: string) => string): unknown {
  if (typeof value === 'string') return text(value);
  if (value instanceof Uint8Array) return bytes(value, text);
  if (Array.isArray(value)) return value.map((item) => normalize(item, text));
  if (typeof value !== 'object' || value === null) return value;
  const fields = value as Readonly<Record<string, unknown>>;
  const entries = Object.entries(fields).map(([key, field]): [string, unknown] => {
    if (times.has(key)) return [key, timeOf(fields, key)];
    if (pids.has(key)) return [key, Number(field) > 0 ? 'some' : 'none'];
    return [key, normalize(field, text)];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Of specs, which are JSON, what the text in them says. */
function bytes(value: Uint8Array, text: (value: string) => string): string {
  if (value.length === 0) return 'no bytes';
  const plain = value[0] === 0x7b ? Buffer.from(text(Buffer.from(value).toString())) : value;
  return `${plain.length} bytes ${sha256(plain).slice(7, 15)}`;
}

function timeOf(fields: Readonly<Record<string, unknown>>, key: string): string {
  const time = nsOf(fields[key]);
  if (time === undefined) return 'unset';
  const created = nsOf(fields.createdAt);
  if (key !== 'updatedAt' || created === undefined) return 'set';
  return time === created ? 'as created' : 'later';
}

/** Go's zero time travels as the year 1. */
function nsOf(time: unknown): bigint | undefined {
  if (time === null || time === undefined) return undefined;
  const ns = timestampToNs(time as Parameters<typeof timestampToNs>[0]);
  return ns === undefined || ns <= 0n ? undefined : ns;
}
