import type { Field, FieldType } from '#common/wire/schema.ts';
import { enums, messages } from '#proto/wire.ts';
import type { Random } from '../../support/random.ts';

/** Paths that a request may name without harm to the machine: everything that is made on the host is below `dir`. */
export interface Grounds {
  readonly dir: string;
  readonly cgroup: string;
  readonly image: string;
}

const integers = [0, 1, -1, 2, 100, 1000, 65_535, 65_536, 2 ** 31 - 1, -(2 ** 31)];
const longs = [...integers, 2 ** 32, 2 ** 53 - 1, 9_223_372_036_854_775_807n, -9_223_372_036_854_775_808n, 1n << 40n];
const unsigned = [0, 1, 2, 1000, 65_536, 2 ** 31, 2 ** 32 - 1];
const doubles = [0, 1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY];

const texts = [
  '',
  ' ',
  'x',
  'a/b',
  '..',
  '../../x',
  'with space',
  'a\0b',
  'line\nbreak',
  '\u{1f433}',
  '%s%n',
  '{"a":1}',
  '__proto__',
  'constructor',
  '-1',
  '0-9999',
  'root',
  'nobody',
  'unconfined',
  'runtime/default',
  'localhost/x',
  'SIGTERM',
  'CAP_SYS_ADMIN',
  'net.ipv4.ip_forward',
  'kernel.shm_rmid_forced',
  '2MB',
  'memory.high',
  'x'.repeat(300),
  'y'.repeat(70_000),
];
const command = ['true', 'false', 'sleep', '0', '-c', 'sh', '/', '', 'a\0b', '/nonexistent'];
const container = [
  '',
  '/',
  '/data',
  '/data/../x',
  'relative',
  '/proc',
  '/proc/self',
  '/dev/shm',
  '/etc/hosts',
  '/x\0y',
];

/** A value for a field: proper by type, and often odd. Strings look like what the field's name promises. */
export function fieldValue([, name, rule, type, reference = '']: Field, random: Random, grounds: Grounds): unknown {
  const one = () => single(name, type, reference, random, grounds);
  if (rule === 1) return random.some(3, one);
  if (rule === 2) return Object.fromEntries(random.some(3, () => [random.pick(texts), one()]));
  return one();
}

/** A message with some of its fields. */
export function messageOf(type: string, random: Random, grounds: Grounds, share = 0.3): Record<string, unknown> {
  const table = messages[type as keyof typeof messages];
  return Object.fromEntries(
    table.filter(() => random.chance(share)).map((field) => [field[1], fieldValue(field, random, grounds)]),
  );
}

function single(name: string, type: FieldType, reference: string, random: Random, grounds: Grounds): unknown {
  switch (type) {
    case 'string':
      return random.pick(textsFor(name, grounds));
    case 'bytes':
      return Buffer.from(random.pick(texts));
    case 'bool':
      return random.chance(0.5);
    case 'int32':
      return random.pick(integers);
    case 'int64':
      return String(random.pick(longs));
    case 'uint32':
    case 'uint64':
      return random.pick(unsigned);
    case 'double':
      return random.pick(doubles);
    case 'enum':
      return random.mostly(Object.values(enums[reference] ?? {}), [77, -1]);
    case 'message':
      return messageOf(reference, random, grounds);
  }
}

function textsFor(name: string, { dir, cgroup, image }: Grounds): readonly string[] {
  if (/^(?:command|args|cmd)$/.test(name)) return command;
  if (/hostPath|logDirectory/.test(name))
    return ['', dir, `${dir}/made`, `${dir}/made/../too`, 'relative', '/x\0y', '/etc/hosts'];
  if (/containerPath|workingDir|maskedPaths|readonlyPaths|imageSubPath/.test(name)) return container;
  if (name === 'logPath') return ['', 'c.log', 'sub/c.log', '../c.log', '/c.log', 'x\0y'];
  // A parent that isn't there would be made, and is its caller's to remove.
  if (name === 'cgroupParent') return [`/${cgroup}`, `/${cgroup}/../${cgroup}`, `${cgroup}/`];
  if (name === 'image' || name === 'userSpecifiedImage') return [image, '', 'UPPER', 'no/such:1', 'a@sha256:0', '../x'];
  if (name === 'runtimeHandler') return ['', 'runc', 'none'];
  return texts;
}
