import { formatNs, timestampToNs } from '#common/timestamp.ts';

/** Sorted by a text of each, in the order of code points. */
export function sortedBy<T>(items: readonly T[], key: (item: T) => string): T[] {
  return items.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

/** RFC 3339 of a timestamp on the wire; null for none. */
export function timeOf(timestamp: Parameters<typeof timestampToNs>[0]): string | null {
  const ns = timestampToNs(timestamp);
  return ns === 0n ? null : formatNs(ns);
}
