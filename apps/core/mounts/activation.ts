import type { Labels } from '#common/labels.ts';
import type { FsMount } from '#common/mount.ts';

/** A mount that the daemon has made for a client. */
export interface ActiveMount {
  readonly mount: FsMount;
  readonly mountPoint: string;
  /** Nanoseconds since the epoch, decimal: it is kept as JSON. */
  readonly mountedAt: string;
}

/** Mounts that were activated together, under a name that is unique in the namespace. */
export interface Activation {
  readonly ns: string;
  readonly name: string;
  /** What is mounted already, in the order in which it was. */
  readonly active: readonly ActiveMount[];
  /** What is left for the client to mount, in order. */
  readonly system: readonly FsMount[];
  /** The one mutable field; the collector follows `containerd.io/gc.bref.*` in it. */
  readonly labels: Labels;
  /** The lease it was made under, if any. */
  readonly lease: string | undefined;
}

export interface ActivateRequest {
  readonly ns: string;
  readonly name: string;
  readonly mounts: readonly FsMount[];
  readonly labels: Labels;
  /** Mount all of them, and leave to the client no more than a bind mount of the last. */
  readonly temporary: boolean;
  readonly lease: string | undefined;
}
