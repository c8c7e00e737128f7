import { BerthError } from './errors.ts';

/** Labels as they travel: a flat map. */
export type Labels = Readonly<Record<string, string>>;

const maxLabelSize = 4096;

/**
 * Checks one label: key and value together take at most 4096 bytes.
 * @throws BerthError `invalid_argument`, naming the key
 */
export function validateLabel(key: string, value: string): void {
  const size = Buffer.byteLength(key) + Buffer.byteLength(value);
  if (size <= maxLabelSize) return;
  const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key;
  throw new BerthError(
    'invalid_argument',
    `label "${shown}": key and value take ${size} bytes, more than the maximum of ${maxLabelSize}`,
  );
}

/** {@link validateLabel} for each label of a map. */
export function validateLabels(labels: Labels): void {
  for (const [key, value] of Object.entries(labels)) validateLabel(key, value);
}

/** Labels with a meaning fixed by containerd, which clients set and read. */
export const labelKeys = {
  /** Followed by anything: this object refers to that content digest. */
  gcRefContent: 'containerd.io/gc.ref.content',
  /** Followed by `.<snapshotter>`: this object refers to that snapshot. */
  gcRefSnapshot: 'containerd.io/gc.ref.snapshot',
  /** The named image keeps this object, which is no root by itself. */
  gcBackReferenceImage: 'containerd.io/gc.bref.image',
  /** Followed by `.<snapshotter>`: the named snapshot keeps this object. */
  gcBackReferenceSnapshot: 'containerd.io/gc.bref.snapshot',
  /** Any value: the collector keeps the object. */
  gcRoot: 'containerd.io/gc.root',
  /** RFC 3339 time after which a lease, or an image, no longer counts. */
  gcExpire: 'containerd.io/gc.expire',
  /** On a blob: the digest of its uncompressed form. */
  uncompressed: 'containerd.io/uncompressed',
  /** Followed by `.<registry host>`: repositories that a blob came from. */
  distributionSource: 'containerd.io/distribution.source',
  /** On a prepare request: the name the snapshot is to be committed as. */
  snapshotRef: 'containerd.io/snapshot.ref',
  /** Followed by anything: what a snapshotter is told about a snapshot. */
  snapshotInherited: 'containerd.io/snapshot/',
  /** On a snapshot: which ids of the host its files belong to, `container:host:size`, more after commas. */
  snapshotUidMapping: 'containerd.io/snapshot/uidmapping',
  snapshotGidMapping: 'containerd.io/snapshot/gidmapping',
} as const;
