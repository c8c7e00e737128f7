import { existsSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { BerthError } from '#common/errors.ts';
import type { SecurityProfile } from '../cri-types.ts';
import { defaultProfile, defaultProfileName } from './apparmor-profile.ts';

/** AppArmor of a kernel that confines processes with it. */
export interface AppArmor {
  /** Names of the profiles that are loaded. */
  profiles(): readonly string[];
  /** Loads a profile, or replaces the loaded one of the same name. */
  load(profile: string): Promise<void>;
}

const parser = '/usr/sbin/apparmor_parser';
const loaded = '/sys/kernel/security/apparmor/profiles';

/** AppArmor of this node; undefined: its kernel has none, or nothing is installed that loads profiles. */
export function hostAppArmor(): AppArmor | undefined {
  try {
    if (!readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y')) return undefined;
  } catch {
    return undefined;
  }
  if (!existsSync(loaded) || !existsSync(parser)) return undefined;
  return {
    profiles: () => {
      const lines = readFileSync(loaded, 'utf8').split('\n');
      return lines.map((line) => line.replace(/ \(\w+\)$/, ''));
    },
    load: async (profile) => {
      // Compiled profiles are kept by path, and what comes on stdin has none.
      await execa(parser, ['--replace', '--skip-cache'], { input: profile });
    },
  };
}

/**
 * The AppArmor profile of a container; undefined: none. Where there is AppArmor, a container that asks for nothing gets
 * Berth's default profile, as one that asks for RuntimeDefault. It is loaded when it is not: an administrator's
 * `aa-remove-unknown` takes away what has no file below /etc/apparmor.d.
 *
 * @throws failed_precondition for a profile of the node's that isn't loaded, or on a node without AppArmor.
 */
export async function appArmorFor(
  wanted: SecurityProfile | null,
  privileged: boolean,
  host: AppArmor | undefined,
): Promise<string | undefined> {
  if (privileged) return undefined;
  if (host === undefined) {
    if (wanted === null || wanted.profileType === 'Unconfined') return undefined;
    throw new BerthError(
      'failed_precondition',
      `AppArmor profile ${named(wanted)} is asked for, but this node has none`,
    );
  }
  if (wanted?.profileType === 'Unconfined') return 'unconfined';
  if (wanted?.profileType === 'Localhost') {
    const name = wanted.localhostRef.replace(/^localhost\//, '');
    if (host.profiles().includes(name)) return name;
    throw new BerthError(
      'failed_precondition',
      `AppArmor profile "${name}" is asked for, but this node has not loaded it`,
    );
  }
  if (!host.profiles().includes(defaultProfileName)) await host.load(defaultProfile);
  return defaultProfileName;
}

function named({ profileType, localhostRef }: SecurityProfile): string {
  return profileType === 'Localhost' ? `"${localhostRef.replace(/^localhost\//, '')}"` : profileType;
}
