export type CollectibleType = 'content' | 'snapshot' | 'image' | 'ingest';

/** What the collector knows by type; a container is always a root and never collected. */
export type NodeType = CollectibleType | 'container' | FlatType;

/** The same resources as a flat lease holds them: what they are made of counts, what their labels name doesn't. */
type FlatType = 'content-flat' | 'snapshot-flat' | 'image-flat';

/** One resource of one namespace, as a string so that it serves as a key. */
export type Node = string & { readonly node: unique symbol };

/** `id` is a digest, `<snapshotter>/<key>`, a name, an id or a ref. */
export function node(type: NodeType, ns: string, id: string): Node {
  return `${type}\0${ns}\0${id}` as Node;
}

/** Why a resource is a root, in words for people. */
export interface Owner {
  readonly kind: 'image' | 'container' | 'sandbox' | 'lease' | 'write' | 'label';
  readonly ns: string;
  readonly id: string;
}

/**
 * Everything that can be reached from the roots.
 * @param references what a node keeps alive
 */
export function reachable(roots: Iterable<Node>, references: (from: Node) => Iterable<Node>): Set<Node> {
  const seen = new Set(roots);
  const open = [...seen];
  for (let from = open.pop(); from !== undefined; from = open.pop()) {
    for (const to of references(from)) {
      if (seen.has(to)) continue;
      seen.add(to);
      open.push(to);
    }
  }
  return seen;
}
