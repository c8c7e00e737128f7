import { release } from 'node:os';
import { execa } from 'execa';

/** What pods may ask of an OCI runtime beyond what all of them do. */
export interface RuntimeFeatures {
  /** Mounts that are read-only together with all mounts below them. */
  readonly recursiveReadOnly: boolean;
  /** Pods in a user namespace of their own, with id-mapped mounts. */
  readonly userNamespaces: boolean;
  /** Devices of the host's network that move into a container. */
  readonly networkDevices: boolean;
}

export const noFeatures: RuntimeFeatures = { recursiveReadOnly: false, userNamespaces: false, networkDevices: false };

const probeTimeoutMs = 10_000;

/** Asks an OCI runtime what it can do, as far as this kernel can, too. One that doesn't answer has no features. */
export async function probeFeatures(binary: string): Promise<RuntimeFeatures> {
  const kernel = kernelVersion();
  const { recursiveReadOnly, userNamespaces, networkDevices } = await runtimeFeatures(binary);
  return {
    // mount_setattr(2)
    recursiveReadOnly: recursiveReadOnly && atLeast(kernel, [5, 12]),
    // Overlayfs on id-mapped layers.
    userNamespaces: userNamespaces && atLeast(kernel, [5, 19]),
    networkDevices,
  };
}

async function runtimeFeatures(binary: string): Promise<RuntimeFeatures> {
  const asked = await execa(binary, ['features'], { reject: false, timeout: probeTimeoutMs });
  const told = asked.exitCode === 0 ? parseFeatures(asked.stdout) : undefined;
  if (told !== undefined) return told;
  // crun before 1.9 has no such command.
  const version = await execa(binary, ['--version'], { reject: false, timeout: probeTimeoutMs });
  return version.exitCode === 0 ? featuresOfVersion(version.stdout) : noFeatures;
}

interface Ability {
  enabled?: unknown;
}

/** The answer of `features` (OCI runtime spec, features.md); undefined when it is none. */
export function parseFeatures(text: string): RuntimeFeatures | undefined {
  let features: {
    mountOptions?: unknown;
    linux?: { mountExtensions?: { idmap?: Ability }; netDevices?: Ability };
  } | null;
  try {
    features = JSON.parse(text);
  } catch {
    return undefined;
  }
  return {
    recursiveReadOnly: Array.isArray(features?.mountOptions) && features.mountOptions.includes('rro'),
    userNamespaces: features?.linux?.mountExtensions?.idmap?.enabled === true,
    networkDevices: features?.linux?.netDevices?.enabled === true,
  };
}

/** What is known of runtimes that can't be asked, by the first line of `--version`. */
export function featuresOfVersion(text: string): RuntimeFeatures {
  const [, major, minor] = /^crun version (\d+)\.(\d+)/.exec(text) ?? [];
  if (major === undefined || minor === undefined) return noFeatures;
  const known = atLeast([Number(major), Number(minor)], [1, 8]);
  return { ...noFeatures, recursiveReadOnly: known, userNamespaces: known };
}

function kernelVersion(): [number, number] {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release()) ?? [];
  return [Number(major), Number(minor)];
}

function atLeast([major, minor]: readonly [number, number], [wantMajor, wantMinor]: readonly [number, number]) {
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}
