import { readFileSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';
import { CAP } from '#common/native/constants.ts';

/** What the kernel lets this daemon hand out to containers. */
export interface HostLimits {
  /** Hard limit of open files. */
  readonly nofileHard: number;
  readonly oomScoreAdj: number;
  /** CAP_SYS_RESOURCE: limits may be raised and the OOM score lowered. */
  readonly mayRaise: boolean;
}

/** Open files that a container gets where the host allows it: explicit, never what the daemon runs with. */
const containerNofile = 1_048_576;

export function readHostLimits(effectiveCapabilities: bigint): HostLimits {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return {
    nofileHard: line?.[1] === undefined || line[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line[1]),
    oomScoreAdj: Number(readFileSync('/proc/self/oom_score_adj', 'utf8')),
    mayRaise: ((effectiveCapabilities >> BigInt(CAP.SYS_RESOURCE)) & 1n) === 1n,
  };
}

/** Explicit resource limits of every container's process, clamped to what can be set. */
export function processRlimits(host: HostLimits): { type: string; hard: number; soft: number }[] {
  const nofile = host.mayRaise ? containerNofile : Math.min(containerNofile, host.nofileHard);
  return [{ type: 'RLIMIT_NOFILE', hard: nofile, soft: nofile }];
}

/**
 * Without CAP_SYS_RESOURCE no process may go below its parent's score; runc would fail without saying why.
 *
 * @throws invalid_argument for a score that the kernel doesn't have
 */
export function clampOomScoreAdj(wanted: number, host: HostLimits): number {
  if (!(wanted >= -1000 && wanted <= 1000)) {
    throw new BerthError('invalid_argument', `oom_score_adj ${wanted} is out of range, -1000 to 1000`);
  }
  return host.mayRaise ? wanted : Math.max(wanted, host.oomScoreAdj);
}
