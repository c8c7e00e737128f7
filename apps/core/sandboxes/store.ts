import type { Labels } from '#common/labels.ts';
import type { TypedBytes } from '../metadata/typed-bytes.ts';

/** A group of containers that a shim runs as one, such as a pod in a virtual machine: metadata only. */
export interface Sandbox {
  /** Identifier, unique in the namespace. Required, immutable. */
  readonly id: string;
  /** Kind of controller that runs it, such as `shim`. Immutable. */
  readonly sandboxer: string;
  /** The shim to run it, with its options. The name changes only by a mask that says so. */
  readonly runtime: {
    readonly name: string;
    readonly options: TypedBytes | undefined;
  };
  /** Mutable. */
  readonly spec: TypedBytes | undefined;
  /** Mutable. */
  readonly labels: Labels;
  /** Clients' own data by name. Mutable. */
  readonly extensions: Readonly<Record<string, TypedBytes>>;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
}

export type SandboxInput = Omit<Sandbox, 'createdAt' | 'updatedAt'>;

export interface SandboxStore {
  /** @throws not_found */
  get(ns: string, id: string): Sandbox;
  /** Sandboxes that match any of the filters (`id`, `labels.<key>`), by id. @throws invalid_argument for a bad filter. */
  list(ns: string, filters?: readonly string[]): Sandbox[];
  /** @throws already_exists; invalid_argument for a bad id or label. */
  create(ns: string, sandbox: SandboxInput): Sandbox;
  /**
   * Replaces what `fieldpaths` names: `labels`, `labels.<key>`, `extensions`, `extensions.<key>`, `spec`, `runtime`; all of
   * them when there are none.
   * @throws not_found; invalid_argument for any other path, or another runtime without a mask.
   */
  update(ns: string, sandbox: SandboxInput, fieldpaths?: readonly string[]): Sandbox;
  /** What runs of it goes on. @throws not_found */
  delete(ns: string, id: string): void;
}
