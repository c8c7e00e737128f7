import { describe, expect, test } from 'vitest';
import {
  parseLabel,
  parsePlatform,
  parseSignal,
  parseUser,
  parseUserOption,
} from '../../../apps/cli/verbs/arguments.ts';
import { inNamespace } from '../../../apps/cli/verbs/events.ts';

test('a label is split at its first equals sign', () => {
  expect(parseLabel('key=a=b')).toEqual({ key: 'a=b' });
  expect(parseLabel('key')).toEqual({ key: '' });
  expect(() => parseLabel('=value')).toThrow('key=value');
});

test.each([
  ['KILL', 9],
  ['sigterm', 15],
  ['SIGHUP', 1],
  ['34', 34],
])('signal %s is %d', (text, number) => {
  expect(parseSignal(text)).toBe(number);
});

test.each(['', 'NOPE', '0', '65', '-9', '9x', 'constructor'])('"%s" is no signal', (text) => {
  expect(() => parseSignal(text)).toThrow('Signals are');
});

test('a platform has two or three parts', () => {
  expect(parsePlatform('linux/amd64')).toEqual({ os: 'linux', architecture: 'amd64' });
  expect(parsePlatform('linux/arm/v7')).toEqual({ os: 'linux', architecture: 'arm', variant: 'v7' });
  expect(() => parsePlatform('linux')).toThrow('os/architecture');
});

describe('a user', () => {
  test('is a number, or two', () => {
    expect(parseUser('1000')).toEqual({ uid: 1000, gid: 0 });
    expect(parseUser('1000:100')).toEqual({ uid: 1000, gid: 100 });
  });

  test.each(['', 'root', '1:', ':1', '-1', '4294967295', '1e3', '1:4294967296'])('is not "%s"', (text) => {
    expect(parseUser(text)).toBeUndefined();
    expect(() => parseUserOption(text)).toThrow('UID:GID');
  });
});

test('a namespace is a condition within each filter of events', () => {
  expect(inNamespace([], 'k8s.io')).toEqual(['namespace=="k8s.io"']);
  expect(inNamespace(['topic=="/tasks/exit"', 'topic=="/tasks/oom"'], 'a')).toEqual([
    'topic=="/tasks/exit",namespace=="a"',
    'topic=="/tasks/oom",namespace=="a"',
  ]);
});
