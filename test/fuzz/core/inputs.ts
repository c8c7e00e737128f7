/** Where the generators take their values from: few of each, so that calls meet each other's objects. */
import { createHash } from 'node:crypto';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { digestOf } from '../../support/busybox-image.ts';
import type { Random } from '../../support/random.ts';

/** The lease that keeps what a sequence makes from being collected at a time that nobody knows. */
export const keep = 'keep';

/** Texts that are no ids, or just about: the second of the long ones is as long as one may be. */
const oddIds = ['', 'a/b', '../x', '-a', 'a-', 'a..b', 'a_b.c-d', 'ä', 'a b', 'x'.repeat(77), 'x'.repeat(76)];

export function id(random: Random): string {
  return random.mostly(['c1', 'c2', 'c3'], oddIds);
}

/** Words for {@link Side.namespace}. */
export function namespace(random: Random): string {
  return random.mostly(['main', 'main', 'main', 'other'], ['unknown', 'unknown', '', 'a/b', 'x'.repeat(77)], 0.08);
}

/** As {@link namespace}, but never one that comes to be by the call: what is made in it has no lease. */
export function knownNamespace(random: Random): string {
  return random.mostly(['main', 'main', 'main', 'other'], ['', 'a/b', 'x'.repeat(77)], 0.04);
}

export function lease(random: Random): string {
  return random.mostly([keep], ['missing', 'a/b'], 0.04);
}

export function leaseId(random: Random): string {
  return random.mostly(['l1', 'l2'], ['missing', '', 'a/b', 'ä', 'x'.repeat(77)], 0.15);
}

const labelValues = ['1', '2', 'x', ''];

/** Now and then a label that is a byte too long, or not quite. */
export function labels(random: Random): Record<string, string> {
  if (random.chance(0.04)) return { long: 'x'.repeat(random.pick([4092, 4093])) };
  return shortLabels(random);
}

export function shortLabels(random: Random): Record<string, string> {
  const keys = random.some(3, () => random.pick(['a', 'b', 'c.d/e', 'containerd.io/gc.root']));
  return Object.fromEntries(keys.map((key) => [key, random.pick(labelValues)]));
}

const badMasks = [['nonsense'], ['labels.'], [''], ['created_at'], ['id'], ['labels', 'nonsense'], ['Labels']];

/** A field mask, null for none. */
export function mask(random: Random, ...paths: readonly string[]): { paths: string[] } | null {
  if (random.chance(0.3)) return random.pick([null, { paths: [] }]);
  if (random.chance(0.12)) return { paths: [...random.pick(badMasks)] };
  const known = ['labels', 'labels.a', 'labels.b', 'labels.c.d/e', 'labels.none', ...paths];
  return { paths: [random.pick(known), ...random.some(1, () => random.pick(known))] };
}

const commonFilters = [
  'labels.a',
  'labels.a==1',
  'labels.a!=1',
  'labels."c.d/e"==x',
  'labels.a~=^[0-9]$',
  'labels.a~=/[12]/',
];
const oddFilters = [
  '',
  'nothing',
  'nothing.at.all==x',
  'labels',
  'labels==1',
  'labels.a==1,labels.b',
  'labels.a == "1"',
];
const badFilters = [
  'labels.a==',
  '==x',
  'labels.a~=("',
  ',',
  'labels.',
  'a=b',
  'a===b',
  'labels.a==1,',
  '"',
  "labels.a=='1'",
];

/** Some filters; `fields` are those of the kind of object. */
export function filters(random: Random, ...fields: readonly string[]): string[] {
  return random.some(2, () => {
    if (random.chance(0.1)) return random.pick(badFilters);
    return random.pick([...commonFilters, ...oddFilters, ...fields, ...fields]);
  });
}

/** Few blobs: an empty one, some small ones, one that takes several messages. */
export const blobs = ['', 'a', 'hello world', 'x'.repeat(4096), 'y'.repeat(200_000), 'z'.repeat(2_500_000)].map(
  (text) => {
    const data = Buffer.from(text);
    return { data, digest: digestOf(data) };
  },
);

/** The index of one of {@link blobs}; seldom the big one. */
export function blob(random: Random): number {
  return random.mostly([0, 1, 2, 3], [4, 5], 0.1);
}

export function dataOf(index: number): Buffer {
  return (blobs[index] as (typeof blobs)[number]).data;
}

const hello = Buffer.from('hello world');
const oddDigests = [
  '',
  'sha256:short',
  `sha256:${'g'.repeat(64)}`,
  `sha256:${'A'.repeat(64)}`,
  `sha512:${createHash('sha512').update(hello).digest('hex')}`,
  `md5:${createHash('md5').update(hello).digest('hex')}`,
  '../../etc/passwd',
  `sha256:${'0'.repeat(64)}`,
];

export function digest(random: Random, oddity = 0.12): string {
  return random.mostly(
    blobs.map((each) => each.digest),
    oddDigests,
    oddity,
  );
}

export const spec = packJson(typeUrls.spec, { ociVersion: '1.0.2' });
