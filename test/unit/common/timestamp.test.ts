import { expect, test } from 'vitest';
import {
  formatNs,
  parseRfc3339,
  timestampFromDate,
  timestampFromNs,
  timestampToDate,
  timestampToNs,
} from '#common/timestamp.ts';

test('nanoseconds survive the way to a timestamp and back, also past 2^53 and before the epoch', () => {
  for (const ns of [0n, 1n, 1_700_000_000_123_456_789n, -1n, -1_500_000_000n]) {
    const timestamp = timestampFromNs(ns);
    expect(timestamp.nanos).toBeGreaterThanOrEqual(0);
    expect(timestampToNs(timestamp)).toBe(ns);
  }
});

test('an absent timestamp is the epoch', () => {
  expect(timestampToNs(null)).toBe(0n);
});

test('a date survives with its milliseconds', () => {
  const date = new Date('2026-01-02T03:04:05.678Z');
  expect(timestampToDate(timestampFromDate(date))).toEqual(date);
});

test('RFC 3339 is written with nine digits and read with any number', () => {
  const ns = parseRfc3339('2026-01-02T03:04:05.000000006Z');
  expect(ns).toBeDefined();
  expect(formatNs(ns ?? 0n)).toBe('2026-01-02T03:04:05.000000006Z');
  expect(parseRfc3339('2026-01-02T04:04:05+01:00')).toBe(parseRfc3339('2026-01-02T03:04:05Z'));
  expect(parseRfc3339('yesterday')).toBeUndefined();
});
