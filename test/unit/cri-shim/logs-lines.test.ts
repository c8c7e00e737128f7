import { describe, expect, test } from 'vitest';
import { formatLines, parseEntry } from '../../../apps/cri-shim/logs/cri-lines.ts';
import { LogClock } from '../../../apps/cri-shim/logs/log-clock.ts';
import { confineLogPath } from '../../../apps/cri-shim/logs/log-path.ts';

const format = (input: string, maxLine: number, rest = false) =>
  formatLines(Buffer.from(input, 'latin1'), 'T stdout ', maxLine, rest);

describe('formatLines', () => {
  test('turns each line into a full entry and leaves the unfinished one', () => {
    expect(format('one\n\ntwo\nthr', 100)).toEqual({
      text: 'T stdout F one\nT stdout F \nT stdout F two\n',
      consumed: 9,
      entries: 3,
    });
  });

  test('writes the unfinished line as a part when asked for the rest', () => {
    expect(format('one\ntw', 100, true)).toEqual({ text: 'T stdout F one\nT stdout P tw\n', consumed: 6, entries: 2 });
  });

  test('cuts a line that is longer than the limit', () => {
    expect(format('123456789\nx\n', 4)).toEqual({
      text: 'T stdout P 1234\nT stdout P 5678\nT stdout F 9\nT stdout F x\n',
      consumed: 12,
      entries: 4,
    });
  });

  test('writes a line of exactly the limit as one entry', () => {
    expect(format('1234\n', 4).text).toBe('T stdout F 1234\n');
    expect(format('1234\r\n', 4).text).toBe('T stdout F 1234\n');
    expect(format('12345\n', 4).text).toBe('T stdout P 1234\nT stdout F 5\n');
  });

  test('drops one carriage return before a newline and keeps all others', () => {
    expect(format('a\r\nb\r\r\n\rc\n\r\n', 100).text).toBe(
      'T stdout F a\nT stdout F b\r\nT stdout F \rc\nT stdout F \n',
    );
  });

  test('keeps bytes that are no UTF-8', () => {
    const bytes = Buffer.from([0xff, 0x00, 0xc3, 0x28, 0x0a]);
    const { text } = formatLines(bytes, 'T stdout ', 100, false);
    expect(Buffer.from(text, 'latin1')).toEqual(Buffer.concat([Buffer.from('T stdout F '), bytes]));
  });

  test('cuts lines the same way however the bytes arrive', () => {
    const input = Buffer.from(
      Array.from({ length: 200 }, (_, i) => `${'ab\r'.repeat(i % 9)}${i % 3 ? '\r' : ''}\n`).join(''),
      'latin1',
    );
    const whole = formatLines(input, 'T stdout ', 7, false);
    expect(whole.consumed).toBe(input.length);
    for (const step of [1, 2, 3, 8, 9, 10, 64]) {
      let [text, pending] = ['', Buffer.alloc(0)];
      for (let at = 0; at < input.length; at += step) {
        pending = Buffer.concat([pending, input.subarray(at, at + step)]);
        const part = formatLines(pending, 'T stdout ', 7, false);
        text += part.text;
        pending = pending.subarray(part.consumed);
      }
      expect(text).toBe(whole.text);
    }
  });
});

test('an entry is read back as it was written', () => {
  expect(parseEntry('2026-11-21T06:02:38.000000001Z stderr P a b ')).toEqual({
    stream: 'stderr',
    full: false,
    content: 'a b ',
  });
  expect(parseEntry('2026-11-21T06:02:38Z other F x')).toBeUndefined();
});

test('log times are RFC 3339 with nanoseconds, and never go back', () => {
  const clock = new LogClock();
  const times = Array.from({ length: 20_000 }, () => clock.now());
  for (const time of times) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/);
  expect(times).toEqual(times.toSorted());
  expect(Math.abs(Date.parse(times.at(-1) ?? '') - Date.now())).toBeLessThan(2000);
});

describe('confineLogPath', () => {
  test('refuses a folder whose name ends early', () => {
    expect(() => confineLogPath('/var/log\0/pods', 'c.log')).toThrow('log directory "/var/log\\u0000/pods"');
  });

  test('joins the two halves', () => {
    expect(confineLogPath('/var/log/pods/p', 'c/0.log')).toBe('/var/log/pods/p/c/0.log');
  });

  test('answers undefined for a container without a log', () => {
    expect(confineLogPath('', 'c/0.log')).toBeUndefined();
    expect(confineLogPath('/var/log/pods/p', '')).toBeUndefined();
  });

  test.each(['../other/0.log', 'c/../../0.log', '/etc/passwd', '.', '..', 'a\0b'])('refuses %j', (path) => {
    expect(() => confineLogPath('/var/log/pods/p', path)).toThrow(/log path .* leaves the pod's log directory/);
  });
});
