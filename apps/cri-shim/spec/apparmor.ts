import { readFileSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';
import type { SecurityProfile } from '../cri-types.ts';

/** AppArmor of a kernel that confines processes with it. */
export interface AppArmor {
  /** Names of the profiles that are loaded. */
  profiles(): readonly string[];
}

/** AppArmor of this kernel; undefined: it has none. */
export function hostAppArmor(): AppArmor | undefined {
  try {
    if (!readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y')) return undefined;
  } catch {
    return undefined;
  }
  return {
    profiles: () => {
      const lines = readFileSync('/sys/kernel/security/apparmor/profiles', 'utf8').split('\n');
      return lines.map((line) => line.replace(/ \(\w+\)$/, ''));
    },
  };
}

/**
 * The AppArmor profile of a container; undefined: the kernel's own choice. Berth ships no profile, so that
 * RuntimeDefault means none.
 *
 * @throws failed_precondition for a profile of the node's that isn't loaded, or on a node without AppArmor.
 */
export function appArmorFor(
  wanted: SecurityProfile | null,
  privileged: boolean,
  host: AppArmor | undefined,
): string | undefined {
  if (wanted === null || privileged || wanted.profileType === 'RuntimeDefault') return undefined;
  if (wanted.profileType === 'Unconfined') return host === undefined ? undefined : 'unconfined';
  const name = wanted.localhostRef.replace(/^localhost\//, '');
  if (host?.profiles().includes(name)) return name;
  throw new BerthError(
    'failed_precondition',
    `AppArmor profile "${name}" is asked for, but this node has ${host === undefined ? 'no AppArmor' : 'not loaded it'}`,
  );
}
