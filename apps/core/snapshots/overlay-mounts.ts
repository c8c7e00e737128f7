import { join } from 'node:path';
import type { Mount } from './snapshotter.ts';

export interface OverlayLayout {
  /** The snapshot's own directory, with `fs` and, when it is writable, `work`. */
  readonly directory: string;
  readonly writable: boolean;
  /** The `fs` directories of what is below, nearest first. */
  readonly lower: readonly string[];
  /** Whether the kernel has the option `index` and is to be told to leave it off. */
  readonly indexOff: boolean;
}

/** How to mount a snapshot: a bind mount where there is one layer only, overlay otherwise. */
export function overlayMounts({ directory, writable, lower, indexOff }: OverlayLayout): Mount[] {
  const fs = join(directory, 'fs');
  const [nearest] = lower;
  if (nearest === undefined) return [bind(fs, writable ? 'rw' : 'ro')];
  if (!writable && lower.length === 1) return [bind(nearest, 'ro')];
  const options = indexOff ? ['index=off'] : [];
  if (writable) options.push(`workdir=${join(directory, 'work')}`, `upperdir=${fs}`);
  options.push(`lowerdir=${lower.join(':')}`);
  return [{ type: 'overlay', source: 'overlay', options }];
}

function bind(source: string, access: 'ro' | 'rw'): Mount {
  return { type: 'bind', source, options: [access, 'rbind'] };
}
