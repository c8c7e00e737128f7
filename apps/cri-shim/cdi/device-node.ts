import { lstat } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { LinuxDevice, User } from '#common/oci/runtime-spec.ts';
import { majorOf, minorOf } from '../spec/device-number.ts';
import type { ContainerEdits } from './spec-document.ts';

/**
 * A device node of a specification with what it leaves out: from the device on the host, and the owner from the
 * container's user.
 *
 * @throws failed_precondition when the host has no such device, or one of another type
 */
export async function deviceNode(node: ContainerEdits['deviceNodes'][number], user: User): Promise<LinuxDevice> {
  const { path, type, major, minor } = node;
  const hostPath = node.hostPath || path;
  const complete = type !== '' && (major !== 0 || type === 'p');
  const host = await hostDevice(hostPath);
  if (!complete) {
    const refuse = (why: string) => new BerthError('failed_precondition', `CDI device node ${path}: ${why}`);
    if (host === undefined) throw refuse(`${hostPath} on this node is not a device`);
    if (type !== '' && type !== host.type) throw refuse(`${hostPath} is of type ${host.type}, not ${type}`);
  }
  const numbers = major !== 0 ? { major, minor } : { major: host?.major ?? 0, minor: host?.minor ?? 0 };
  const fileMode = node.fileMode ?? host?.fileMode;
  const uid = node.uid ?? (user.uid || undefined);
  const gid = node.gid ?? (user.gid || undefined);
  return {
    path,
    type: type || (host?.type ?? 'c'),
    ...(type === 'p' || host?.type === 'p' ? {} : numbers),
    ...(fileMode === undefined ? {} : { fileMode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
}

interface HostDevice {
  readonly type: 'b' | 'c' | 'p';
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
}

/** undefined when there is no device. */
async function hostDevice(path: string): Promise<HostDevice | undefined> {
  const info = await lstat(path).catch((error: unknown) => {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw BerthError.from(error, `CDI device node ${path}`);
  });
  if (info === undefined) return undefined;
  const type = info.isBlockDevice() ? 'b' : info.isCharacterDevice() ? 'c' : info.isFIFO() ? 'p' : undefined;
  if (type === undefined) return undefined;
  return { type, major: majorOf(info.rdev), minor: minorOf(info.rdev), fileMode: info.mode & 0o7777 };
}
