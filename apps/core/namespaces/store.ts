import type { Labels } from '#common/labels.ts';

export interface Namespace {
  /** Identifier. Immutable. */
  readonly name: string;
  /** Mutable. */
  readonly labels: Labels;
}

/** Every change is published as `/namespaces/<create|update|delete>`. */
export interface NamespaceStore {
  /** @throws not_found */
  get(name: string): Namespace;
  list(): Namespace[];
  /** @throws already_exists; invalid_argument for a bad name or label. */
  create(name: string, labels?: Labels): Namespace;
  /**
   * Replaces what `fieldpaths` names, each as `labels.<key>` (an empty value removes the key); all labels when there are
   * none. As in containerd, a label makes the namespace that isn't there yet.
   * @throws invalid_argument for any other path, a bad name or label.
   */
  update(name: string, labels: Labels, fieldpaths?: readonly string[]): Namespace;
  /** @throws not_found; failed_precondition, naming what is left, while it holds anything. */
  delete(name: string): void;
  /** Makes the namespace exist, as writing into one does in containerd. @throws invalid_argument for a bad name. */
  ensure(name: string): void;
}
