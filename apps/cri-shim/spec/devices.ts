import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { LinuxDevice, LinuxResources } from '#common/oci/runtime-spec.ts';
import { majorOf, minorOf } from './device-number.ts';

/** A line of the devices controller. */
export type DeviceRule = NonNullable<LinuxResources['devices']>[number];

export interface DeviceRequest {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly permissions: string;
}

export interface DeviceResult {
  readonly devices: LinuxDevice[];
  readonly rules: DeviceRule[];
}

/** Entries of /dev that a container has for itself. */
const ownEntries = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', 'lxc', '.lxc', '.lxd-mounts', '.udev']);

/**
 * Devices that a pod asks for. A directory stands for the devices in it.
 *
 * @throws invalid_argument for a missing path, one that holds no device, or bad permissions.
 */
export async function requestedDevices(requests: readonly DeviceRequest[]): Promise<DeviceResult> {
  const devices: LinuxDevice[] = [];
  const rules: DeviceRule[] = [];
  for (const request of requests) {
    if (!/^[rwm]{1,3}$/.test(request.permissions)) {
      throw new BerthError(
        'invalid_argument',
        `device ${request.hostPath}: permissions ${JSON.stringify(request.permissions)} must be made of r, w and m`,
      );
    }
    const host = await realpath(request.hostPath).catch((cause: unknown) => {
      if (!hasErrno(cause, 'ENOENT')) throw BerthError.from(cause, `device ${request.hostPath}`);
      throw new BerthError('invalid_argument', `device ${request.hostPath} doesn't exist on this node`, { cause });
    });
    const found = await devicesAt(host, request.containerPath);
    if (found.length === 0) {
      throw new BerthError(
        'invalid_argument',
        `device ${request.hostPath} is neither a device nor a directory of some`,
      );
    }
    for (const device of found) {
      devices.push(device);
      const { type, major, minor } = device;
      rules.push({
        allow: true,
        type,
        ...(major === undefined || minor === undefined ? {} : { major, minor }),
        access: request.permissions,
      });
    }
  }
  return { devices, rules };
}

/** Every device of the host, for privileged containers. */
export async function hostDevices(): Promise<LinuxDevice[]> {
  return await devicesAt('/dev', '/dev');
}

async function devicesAt(host: string, target: string): Promise<LinuxDevice[]> {
  const info = await stat(host).catch((error: unknown) => {
    // Devices come and go; a link may dangle.
    if (hasErrno(error, 'ENOENT', 'ELOOP', 'ENXIO')) return undefined;
    throw BerthError.from(error, `device ${host}`);
  });
  if (info?.isDirectory()) {
    const names = (await readdir(host, { withFileTypes: true })).filter(
      (entry) => !entry.isSymbolicLink() && !(host === '/dev' && ownEntries.has(entry.name)),
    );
    const lists = await Promise.all(names.map(({ name }) => devicesAt(join(host, name), join(target, name))));
    return lists.flat();
  }
  if (info === undefined || basename(host) === 'ptmx') return [];
  const type = info.isCharacterDevice() ? 'c' : info.isBlockDevice() ? 'b' : undefined;
  if (type === undefined) return [];
  return [
    {
      path: target,
      type,
      major: majorOf(info.rdev),
      minor: minorOf(info.rdev),
      fileMode: info.mode & 0o7777,
      uid: info.uid,
      gid: info.gid,
    },
  ];
}
