import type { Labels } from '#common/labels.ts';
import type { TypedBytes } from '../metadata/typed-bytes.ts';

/** What is to be run: metadata only. Whether it runs is the task's to say. */
export interface Container {
  /** Identifier, unique in the namespace. Required, immutable. */
  readonly id: string;
  /** Mutable. */
  readonly labels: Labels;
  /** Name of the image it was made from, informative. Mutable. */
  readonly image: string;
  /** The shim to run it, such as `io.containerd.runc.v2`, with its options. Name required; both immutable. */
  readonly runtime: {
    readonly name: string;
    readonly options: TypedBytes | undefined;
  };
  /** OCI runtime specification. Required, mutable. */
  readonly spec: TypedBytes | undefined;
  /** Names a snapshotter; required when there is a snapshotKey. Immutable. */
  readonly snapshotter: string;
  /** The active snapshot that is its root file system; protects it from collection. Mutable. */
  readonly snapshotKey: string;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
  /** Clients' own data by name. Mutable. */
  readonly extensions: Readonly<Record<string, TypedBytes>>;
  /** Id of the sandbox it belongs to, '' for none. Immutable. */
  readonly sandbox: string;
}

export type ContainerInput = Omit<Container, 'createdAt' | 'updatedAt'>;

/** Every change is published as `/containers/<create|update|delete>`. */
export interface ContainerStore {
  /** @throws not_found */
  get(ns: string, id: string): Container;
  /** Containers that match any of the filters, by id. @throws invalid_argument for a bad filter. */
  list(ns: string, filters?: readonly string[]): Container[];
  /** As {@link list}, one after another and few at a time: what changes meanwhile may or may not be among them. */
  each(ns: string, filters?: readonly string[]): IteratorObject<Container>;
  /** Whether this very object is what every reader gets until the container changes. */
  keeps(ns: string, container: Container): boolean;
  /** @throws already_exists; invalid_argument for a bad id, label or missing field. */
  create(ns: string, container: ContainerInput): Container;
  /**
   * Replaces what `fieldpaths` names: `labels`, `labels.<key>`, `spec`, `image`, `extensions`, `extensions.<key>`,
   * `snapshotkey`; all of them when there are none.
   * @throws not_found; invalid_argument for any other path or a change of an immutable field.
   */
  update(ns: string, container: ContainerInput, fieldpaths?: readonly string[]): Container;
  /** Has `listener` called with every container once it is updated; there is one listener. */
  onUpdate(listener: (ns: string, container: Container) => void): void;
  /** The task must be gone before. @throws not_found */
  delete(ns: string, id: string): void;
}
