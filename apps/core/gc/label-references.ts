import { type Labels, labelKeys } from '#common/labels.ts';
import { durationOfLabel, timeOfLabel } from './label-time.ts';
import { type Node, node } from './nodes.ts';

/** What the labels of a resource mean to the collector. */
export interface LabelReferences {
  /** What the resource keeps alive. */
  readonly references: readonly Node[];
  /** What keeps the resource alive beside references to it. */
  readonly backReferences: readonly Node[];
  /** Snapshots that the resource keeps alive for as long as their time of use is right. */
  readonly conditions: readonly Condition[];
  /** When the resource, a snapshot, was last used: milliseconds since the epoch. */
  readonly usedAt: readonly number[];
  readonly root: boolean;
  /** Of a lease: what it holds is held without what that refers to by labels. */
  readonly flat: boolean;
  /** Milliseconds since the epoch; undefined without the label or when it holds no time. */
  readonly expiresAt: number | undefined;
}

/** Holds while the time since the snapshot's last use is below (`<`) or above (`>`) a limit. */
export interface Condition {
  readonly snapshot: Node;
  readonly operator: '<' | '>';
  readonly ageMs: number;
}

const prefix = 'containerd.io/gc.';
const referable = ['content', 'image'] as const;
const backReferable = ['content', 'image', 'container'] as const;

/**
 * Reads containerd's labels (docs/garbage-collection.md, core/metadata/gc.go), which begin with `containerd.io/gc.`:
 * `ref.<type>` and `bref.<type>`, which may go on with `.<name>` or `/<name>`, for content and images, back references to
 * containers also; `ref.snapshot.<snapshotter>` and `bref.snapshot.<snapshotter>`, which may go on with `/<name>`;
 * `cond.snapshot.<snapshotter>` with `usedat<AGE|KEY` and `cond.value-usedat`; `root`; `flat`; `expire`.
 */
export function labelReferences(ns: string, labels: Labels): LabelReferences {
  const references: Node[] = [];
  const backReferences: Node[] = [];
  const conditions: Condition[] = [];
  const usedAt: number[] = [];
  let root = false;
  for (const [key, value] of Object.entries(labels)) {
    if (!key.startsWith(prefix)) continue;
    const name = key.slice(prefix.length);
    if (name.startsWith('ref.')) addTarget(references, ns, name.slice('ref.'.length), referable, value);
    else if (name.startsWith('bref.')) addTarget(backReferences, ns, name.slice('bref.'.length), backReferable, value);
    else if (name.startsWith('cond.snapshot')) conditions.push(...conditionsOf(ns, name, value));
    else if (name.startsWith('cond.value-usedat')) {
      const time = timeOfLabel(value);
      if (time !== undefined) usedAt.push(time);
    } else if (name.startsWith('root')) root = true;
  }
  const flat = `${prefix}flat` in labels;
  return {
    references,
    backReferences,
    conditions,
    usedAt,
    root,
    flat,
    expiresAt: timeOfLabel(labels[labelKeys.gcExpire]),
  };
}

function addTarget(
  targets: Node[],
  ns: string,
  name: string,
  types: readonly ('content' | 'image' | 'container')[],
  value: string,
): void {
  if (name.startsWith('snapshot.')) {
    const [snapshotter] = name.slice('snapshot.'.length).split('/', 1);
    targets.push(node('snapshot', ns, `${snapshotter}/${value}`));
    return;
  }
  const type = types.find((type) => name === type || name.startsWith(`${type}.`) || name.startsWith(`${type}/`));
  if (type) targets.push(node(type, ns, value));
}

/** `usedat<1h,usedat>48h|key`: any one of them will do. Conditions that aren't known say nothing. */
function conditionsOf(ns: string, name: string, value: string): Condition[] {
  const end = value.indexOf('|');
  if (end < 0) return [];
  const [snapshotter] = name
    .slice('cond.snapshot'.length)
    .replace(/^[./]+/, '')
    .split('/', 1);
  const snapshot = node('snapshot', ns, `${snapshotter}/${value.slice(end + 1)}`);
  return value
    .slice(0, end)
    .split(',')
    .flatMap((text) => {
      const [, operator, age = ''] = /^usedat([<>])(?!=)(.*)$/s.exec(text) ?? [];
      const ageMs = durationOfLabel(age);
      const known = operator === '<' || operator === '>';
      return known && ageMs !== undefined ? [{ snapshot, operator, ageMs }] : [];
    });
}
