import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as native from '#common/native/index.ts';

/** A folder of its own for a test, with a name short enough for unix sockets below it. */
export function scratchDir(): string {
  return mkdtempSync(join(tmpdir(), 'berth-'));
}

/**
 * Removes a scratch folder, with whatever a failed test left mounted in it. BERTH_KEEP=1 keeps it for a look at the
 * logs.
 */
export function removeScratch(dir: string): void {
  if (process.env.BERTH_KEEP === '1') {
    console.error(`kept ${dir}`);
    return;
  }
  for (const point of mountPointsIn(dir)) native.umount(point, native.MNT.DETACH);
  rmSync(dir, { recursive: true, force: true });
}

/** Mount points at or below a folder, innermost first. */
export function mountPointsIn(dir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll('\\040', ' '))
    .filter((point) => point === dir || point.startsWith(`${dir}/`))
    .reverse();
}
