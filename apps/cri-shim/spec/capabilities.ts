import { BerthError } from '#common/errors.ts';

/** All capabilities in the order of their kernel numbers (capability.h). */
export const capabilityNames = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
] as const;

export type CapabilityName = (typeof capabilityNames)[number];

/** What a container gets that asks for nothing: Docker's set. */
export const defaultCapabilities: readonly CapabilityName[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** The capability sets of an OCI process. Inheritable stays empty (CVE-2022-24769), and so does ambient. */
export interface CapabilitySets {
  readonly bounding: string[];
  readonly effective: string[];
  readonly permitted: string[];
}

/** The capabilities in a mask as /proc/PID/status and capget(2) give it. */
export function capabilitiesOfMask(mask: bigint): CapabilityName[] {
  return capabilityNames.filter((_, bit) => (mask >> BigInt(bit)) & 1n);
}

export interface CapabilityRequest {
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly privileged: boolean;
  /** What this daemon may hand out. */
  readonly available: readonly CapabilityName[];
}

/**
 * The capabilities of a container. `ALL` in either list is applied first, so that single names refine it.
 *
 * @throws invalid_argument for an unknown name.
 */
export function containerCapabilities(request: CapabilityRequest): CapabilitySets {
  if (request.privileged) return sets(request.available);
  const add = request.add.map(canonicalName);
  const drop = request.drop.map(canonicalName);
  const held = new Set<string>(add.includes('ALL') ? request.available : defaultCapabilities);
  if (drop.includes('ALL')) held.clear();
  for (const name of add) if (name !== 'ALL') held.add(name);
  for (const name of drop) held.delete(name);
  return sets([...held]);
}

function sets(names: readonly string[]): CapabilitySets {
  return { bounding: [...names], effective: [...names], permitted: [...names] };
}

/** CRI names capabilities without `CAP_`; both forms are taken. */
function canonicalName(name: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return upper;
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!(capabilityNames as readonly string[]).includes(full)) {
    throw new BerthError('invalid_argument', `unknown capability "${name}"`);
  }
  return full;
}
