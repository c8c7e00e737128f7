import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { Status__Output } from '#proto/containerd/v1/types/Status.ts';

/** JSON values by extension name, which is their type URL too. */
export type Extensions = Readonly<Record<string, unknown>>;

/** How to run something: a shim and its options. */
export interface CoreRuntime {
  readonly name: string;
  readonly options?: { type_url: string; value: Buffer };
}

/** A container record that is to be made. Its root file system has the same key. */
export interface NewRecord {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  readonly runtime: CoreRuntime;
  readonly spec: RuntimeSpec;
  readonly extensions: Extensions;
}

/** A container record as it was found. */
export interface CoreRecord {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Parsed when asked for. */
  readonly spec: () => RuntimeSpec;
  /** JSON text by name. */
  readonly extensions: Readonly<Record<string, string>>;
}

export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: string[];
}

export type SnapshotMounts = readonly SnapshotMount[];

export interface StoredSnapshot {
  readonly key: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface NewTask {
  readonly id: string;
  readonly rootfs: SnapshotMounts;
  /** SELinux label of all files in it. */
  readonly mountLabel?: string | undefined;
  /** Paths of FIFOs; absent: /dev/null. */
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

/** How a task ended. */
export interface TaskExit {
  readonly exitCode: number;
  /** Nanoseconds since the epoch. */
  readonly exitedAt: bigint;
}

/** How a task ended that nobody saw the end of: containerd's number. */
export const unknownExitCode = 255;

/** A task as the core sees it; exit fields count once it has stopped. */
export interface CoreTask extends TaskExit {
  readonly pid: number;
  readonly status: Status__Output;
}
