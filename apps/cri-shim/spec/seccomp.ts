import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Seccomp, SeccompRule } from '#common/oci/runtime-spec.ts';
import type { SecurityProfile } from '../cri-types.ts';
import * as profile from './seccomp-profile.ts';
import { securityProfile } from './security-profile.ts';

const enosys = 38;
const afAlg = 38;
const afVsock = 40;
/** CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET. */
const cloneNamespaces = 0x7e020000;

/** Whether this kernel has seccomp filters at all. */
export function hostHasSeccomp(): boolean {
  return /^Seccomp:/m.test(readFileSync('/proc/self/status', 'utf8'));
}

/** Docker's default profile for a container with these bounding capabilities. */
export function defaultSeccomp(bounding: readonly string[], arch: string = process.arch): Seccomp {
  const admin = bounding.includes('CAP_SYS_ADMIN');
  const syscalls: SeccompRule[] = [
    allow([...profile.alwaysAllowed, ...profile.allowedByModernKernel, ...(profile.allowedByArchitecture[arch] ?? [])]),
    // Every socket family but AF_ALG (38) and AF_VSOCK (40). Separate ranges: conditions on one argument within a rule
    // are alternatives to runc, so that "not 38 and not 40" would let both pass.
    allow(['socket'], { index: 0, value: afAlg, op: 'SCMP_CMP_LT' }),
    allow(['socket'], { index: 0, value: afAlg + 1, op: 'SCMP_CMP_EQ' }),
    allow(['socket'], { index: 0, value: afVsock, op: 'SCMP_CMP_GT' }),
    ...profile.allowedPersonalities.map((value) => allow(['personality'], { index: 0, value, op: 'SCMP_CMP_EQ' })),
  ];
  for (const capability of bounding) {
    const names = profile.allowedByCapability[capability];
    if (names !== undefined) syscalls.push(allow(names));
  }
  if (!admin) {
    // No new namespaces. clone3 hides its flags from the filter: ENOSYS makes the C library fall back to clone.
    const flagsAt = arch === 's390x' ? 1 : 0;
    syscalls.push(allow(['clone'], { index: flagsAt, value: cloneNamespaces, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }), {
      names: ['clone3'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: enosys,
    });
  }
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: [...(profile.architectures[arch] ?? [])],
    syscalls,
  };
}

function allow(names: readonly string[], arg?: NonNullable<SeccompRule['args']>[number]): SeccompRule {
  return { names: [...names], action: 'SCMP_ACT_ALLOW', ...(arg === undefined ? {} : { args: [arg] }) };
}

/** The profile that a security context asks for; RuntimeDefault where there is no context at all. */
export function seccompProfile(
  context: { readonly seccomp: SecurityProfile | null; readonly seccompProfilePath: string } | null,
): SecurityProfile | null {
  if (context === null) return { profileType: 'RuntimeDefault', localhostRef: '' };
  return securityProfile(context.seccomp, { name: 'seccomp_profile_path', value: context.seccompProfilePath });
}

/**
 * The filter that a security profile asks for; undefined: none.
 *
 * @throws invalid_argument for a localhost profile that is missing or isn't JSON; failed_precondition where the kernel
 * can't filter.
 */
export function seccompFor(
  wanted: SecurityProfile | null,
  bounding: readonly string[],
  supported: boolean,
): Seccomp | undefined {
  if (wanted === null || wanted.profileType === 'Unconfined') return undefined;
  if (wanted.profileType === 'RuntimeDefault') return supported ? defaultSeccomp(bounding) : undefined;
  if (!supported) {
    throw new BerthError('failed_precondition', 'a seccomp profile is given, but this kernel has no seccomp support');
  }
  return localProfile(wanted.localhostRef);
}

function localProfile(path: string): Seccomp {
  if (!isAbsolute(path)) {
    throw new BerthError('invalid_argument', `seccomp profile "${path}" must be an absolute path`);
  }
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (!hasErrno(cause, 'ENOENT', 'EISDIR', 'ENOTDIR')) throw BerthError.from(cause, `seccomp profile "${path}"`);
    throw new BerthError('invalid_argument', `seccomp profile "${path}" doesn't exist on this node`, { cause });
  }
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || !('defaultAction' in parsed)) {
      throw new Error('it names no defaultAction');
    }
    return parsed as Seccomp;
  } catch (cause) {
    throw new BerthError('invalid_argument', `seccomp profile "${path}" isn't a seccomp profile in OCI form`, {
      cause,
    });
  }
}
