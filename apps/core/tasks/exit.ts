import type { Timestamp } from '#common/timestamp.ts';

/** How a process ended: facts, kept until the client deletes the process. */
export interface Exit {
  /** 0 when nobody knows it any more. */
  readonly pid: number;
  /** 0..255; 128 + signal for a process that a signal ended. */
  readonly exitStatus: number;
  readonly exitedAt: Timestamp;
}

/** What is said of a process whose shim is gone: killed, as `SHIM delete` sees to it. */
export const KILLED = 128 + 9;
