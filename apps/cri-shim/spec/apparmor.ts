import { readFileSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';
import type { SecurityProfile } from '../cri-types.ts';

/** Whether this kernel confines processes with AppArmor. */
export function hostHasAppArmor(): boolean {
  try {
    return readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y');
  } catch {
    return false;
  }
}

/**
 * The AppArmor profile of a container; undefined: the kernel's own choice. Berth ships no profile, so that
 * RuntimeDefault means none.
 *
 * @throws failed_precondition for a profile of the node's on a node without AppArmor.
 */
export function appArmorFor(
  wanted: SecurityProfile | null,
  privileged: boolean,
  supported: boolean,
): string | undefined {
  if (wanted === null || privileged || wanted.profileType === 'RuntimeDefault') return undefined;
  if (wanted.profileType === 'Unconfined') return supported ? 'unconfined' : undefined;
  if (supported) return wanted.localhostRef.replace(/^localhost\//, '');
  throw new BerthError(
    'failed_precondition',
    `AppArmor profile "${wanted.localhostRef}" is asked for, but this node has no AppArmor`,
  );
}
