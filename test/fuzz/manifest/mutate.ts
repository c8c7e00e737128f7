import { MAX_DOCUMENT } from '../../../apps/core/registry/document.ts';
import type { Random } from '../../support/random.ts';

/** Makes one thing of a JSON value wrong, or odd; the value itself stays as it is. */
export type Mutation = (random: Random) => unknown;

const oddities: readonly Mutation[] = [
  () => null,
  () => -1,
  () => 2 ** 53,
  () => 0.5,
  () => '',
  () => [],
  () => ({}),
  () => true,
  () => 'sha256:../../../../etc/passwd',
  () => 'sha256:ABCDEF',
  () => `sha512:${'0'.repeat(128)}`,
  () => `md5:${'0'.repeat(32)}`,
  () => 'a\0b',
  () => '\ud800',
  () => ({ __proto__: { digest: 'x' }, toString: 1 }),
  () => nested(2_000),
  () => 'x'.repeat(100_000),
  (random) => random.bytes(8).toString('latin1'),
  () => 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  () => 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
];

/** Bytes: more than a document may have. */
const LARGE = 2 * MAX_DOCUMENT;

const strayKeys = [
  'manifests',
  'layers',
  'config',
  'fsLayers',
  'history',
  'mediaType',
  '__proto__',
  'constructor',
  'rootfs',
];

/** The JSON text of `value` after some changes, now and then damaged as text, too. */
export function mutated(value: unknown, random: Random): Buffer {
  const copy: unknown = JSON.parse(JSON.stringify(value));
  const root = { value: copy };
  for (let count = 1 + random.int(3); count > 0; count--) change(root, random);
  const text = Buffer.from(JSON.stringify(root.value) ?? 'undefined');
  if (random.chance(0.8) || text.length === 0) return text;
  if (random.chance(0.5)) return text.subarray(0, random.int(text.length));
  text[random.int(text.length)] = random.int(256);
  return text;
}

/** Goes down to a random place and puts something else there. */
function change(root: { value: unknown }, random: Random): void {
  let holder = root as Record<string, unknown>;
  let key = 'value';
  for (;;) {
    const here = holder[key];
    if (typeof here !== 'object' || here === null || Object.keys(here).length === 0 || random.chance(0.15)) break;
    holder = here as Record<string, unknown>;
    key = random.pick(Object.keys(holder));
  }
  if (random.chance(0.15)) delete holder[key];
  else if (random.chance(0.2)) {
    const stray = { value: random.pick(oddities)(random), enumerable: true, writable: true, configurable: true };
    Object.defineProperty(holder, random.pick(strayKeys), stray);
  } else if (random.chance(0.1) && Array.isArray(holder[key])) holder[key] = repeated(holder[key]);
  else holder[key] = random.pick(oddities)(random);
}

/** A thousand times the value, or until it is too large: what is repeated may have been before, and no string holds that. */
function repeated(value: unknown): unknown[] {
  const { length } = JSON.stringify(value);
  return Array(Math.min(1_000, Math.ceil(LARGE / length))).fill(value);
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { manifests: value };
  return value;
}
