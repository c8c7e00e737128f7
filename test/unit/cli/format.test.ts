import { describe, expect, test } from 'vitest';
import {
  formatAge,
  formatLabels,
  formatSize,
  formatSpan,
  printable,
  shortDigest,
} from '../../../apps/cli/output/format.ts';
import { formatTable } from '../../../apps/cli/output/table.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1024 * 1024 - 1, '1.0 MiB'],
  [1536 * 1024, '1.5 MiB'],
  [5 * 1024 ** 4, '5.0 TiB'],
  [5000 * 1024 ** 4, '5000.0 TiB'],
])('%d bytes read %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});

test.each([
  [-5, '0s'],
  [59_999, '59s'],
  [60_000, '1m'],
  [3_600_000 * 23, '23h'],
  [86_400_000 * 40, '40d'],
])('a span of %d ms reads %s', (ms, text) => {
  expect(formatSpan(ms)).toBe(text);
});

test('an age counts from an RFC 3339 time with nanoseconds', () => {
  expect(formatAge('2026-01-01T00:00:00.123456789Z', Date.parse('2026-01-01T02:00:01Z'))).toBe('2h');
  expect(formatAge(null)).toBe('-');
});

test('a digest is cut to twelve digits, other names stay whole', () => {
  expect(shortDigest(`sha256:${'ab'.repeat(32)}`)).toBe('sha256:abababababab');
  expect(shortDigest('a-name-of-some-length')).toBe('a-name-of-some-length');
});

test('labels are sorted pairs', () => {
  expect(formatLabels({ b: '2', a: '1', c: '' })).toBe('a=1,b=2,c');
  expect(formatLabels({})).toBe('-');
});

describe('a table', () => {
  const columns = [
    { head: 'NAME', of: ({ name }: { name: string; size: number }) => name },
    { head: 'SIZE', of: ({ size }: { size: number }) => String(size), align: 'right' as const },
  ];

  test('has columns as wide as their longest cell, and no spaces at the end of lines', () => {
    const rows = [
      { name: 'a', size: 5 },
      { name: 'longer', size: 12_345 },
    ];
    expect(formatTable(rows, columns)).toBe('NAME     SIZE\na           5\nlonger  12345');
  });

  test('without rows has its heads', () => {
    expect(formatTable([], columns)).toBe('NAME  SIZE');
  });

  test('keeps control characters of names from the terminal', () => {
    expect(formatTable([{ name: 'x\u001b[31m\ny', size: 1 }], columns)).toContain('x\\x1b[31m\\x0ay');
    expect(printable('plain ü')).toBe('plain ü');
  });
});
