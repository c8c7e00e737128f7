import { type Labels, labelKeys } from '#common/labels.ts';
import { type Node, type NodeType, node } from './nodes.ts';

/** What the labels of a resource mean to the collector. */
export interface LabelReferences {
  /** What the resource keeps alive. */
  readonly references: readonly Node[];
  /** What keeps the resource alive beside references to it. */
  readonly backReferences: readonly Node[];
  readonly root: boolean;
  /** Milliseconds since the epoch; undefined without the label or when it holds no time. */
  readonly expiresAt: number | undefined;
}

const reference = 'containerd.io/gc.ref.';
const backReference = 'containerd.io/gc.bref.';
const types: readonly NodeType[] = ['content', 'image', 'container'];

/**
 * Reads containerd's labels (docs/garbage-collection.md): `gc.ref.<type>` and `gc.bref.<type>`, which may go on with
 * `.<name>` or `/<name>`, for content and images, back references to containers also; `gc.ref.snapshot.<snapshotter>`,
 * which may go on with `/<name>`; `gc.root`; `gc.expire`.
 */
export function labelReferences(ns: string, labels: Labels): LabelReferences {
  const references: Node[] = [];
  const backReferences: Node[] = [];
  for (const [key, value] of Object.entries(labels)) {
    const to = targetOf(ns, key, reference, value);
    if (to) references.push(to);
    const from = targetOf(ns, key, backReference, value);
    if (from) backReferences.push(from);
  }
  const expiresAt = Date.parse(labels[labelKeys.gcExpire] ?? '');
  return {
    references,
    backReferences,
    root: labelKeys.gcRoot in labels,
    expiresAt: Number.isNaN(expiresAt) ? undefined : expiresAt,
  };
}

function targetOf(ns: string, key: string, prefix: string, value: string): Node | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const rest = key.slice(prefix.length);
  if (rest.startsWith('snapshot.')) {
    const [snapshotter] = rest.slice('snapshot.'.length).split('/', 1);
    return node('snapshot', ns, `${snapshotter}/${value}`);
  }
  const type = types.find((name) => rest === name || rest.startsWith(`${name}.`) || rest.startsWith(`${name}/`));
  return type && (type !== 'container' || prefix === backReference) ? node(type, ns, value) : undefined;
}
