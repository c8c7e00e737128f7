import type { Any } from '#common/typeurl.ts';
import type { RootfsMount } from './rootfs.ts';
import type { StdioPaths } from './stdio.ts';

/** What of Create a container is made from. */
export interface CreateRequest extends StdioPaths {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly RootfsMount[];
  readonly options: Any | null;
  /** Folder of a checkpoint to start from; empty for none. */
  readonly checkpoint: string;
  readonly parentCheckpoint: string;
}

/** What of Exec a process is made from. */
export interface ExecRequest extends StdioPaths {
  readonly execId: string;
  /** The OCI process as JSON. */
  readonly spec: Any | null;
}
