import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import { mountOn } from '#common/mount.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { ifFound } from '../if-found.ts';
import { advised, type Session } from '../session.ts';
import { chainOf, configOf, findImage, manifestOf } from './image-content.ts';

export interface MountOptions {
  readonly snapshotter: string;
  /** Lets it be written to; what is written goes with the unmount. */
  readonly rw?: boolean;
}

/** Snapshots that show an image at a path; the label says which. */
const targetLabel = 'io.berth.mounted-at';

/** `berth images mount`: shows the files of an image in a directory, until {@link unmountImage}. */
export async function mountImage(
  session: Session,
  image: string,
  target: string,
  { snapshotter, rw = false }: MountOptions,
): Promise<void> {
  const { core } = session;
  const path = resolve(target);
  const found = await findImage(session, image);
  const { manifest } = await manifestOf(session, found);
  const parent = chainOf(await configOf(session, manifest));
  const key = `mount-${randomUUID()}`;
  // Nothing else refers to it: it is kept until it is unmounted.
  const labels = { [labelKeys.gcRoot]: new Date().toISOString(), [targetLabel]: path };
  const request = { snapshotter, key, parent, labels };
  const prepared = rw ? core.snapshots.prepare(request, session) : core.snapshots.view(request, session);
  const { mounts } = await advised(prepared, {
    not_found: `the image is not unpacked: "berth images pull ${found.name}"`,
  });
  try {
    await mkdir(path, { recursive: true });
    for (const mount of mounts) mountOn(mount, path);
  } catch (error) {
    await ifFound(core.snapshots.remove({ snapshotter, key }, { namespace: session.namespace }));
    throw BerthError.from(error, `mount ${found.name} on ${path}`);
  }
  session.print(() => `mounted ${found.name} on ${path}`, { mounted: found.name, target: path, snapshot: key });
}

/** `berth images unmount`: also where the mount has gone already, as after a reboot. @throws not_found */
export async function unmountImage(session: Session, target: string, snapshotter: string): Promise<void> {
  const path = resolve(target);
  const filters = [`labels.${JSON.stringify(targetLabel)}==${JSON.stringify(path)}`];
  const keys: string[] = [];
  for await (const { info } of session.core.snapshots.list({ snapshotter, filters }, session)) {
    keys.push(...info.map(({ name }) => name));
  }
  if (keys.length === 0) throw new BerthError('not_found', `no image of this namespace is mounted on ${path}`);
  for (const key of keys) {
    unmountIfMounted(path);
    await ifFound(session.core.snapshots.remove({ snapshotter, key }, session));
  }
}

function unmountIfMounted(path: string): void {
  try {
    umount(path, MNT.UMOUNT_NOFOLLOW);
  } catch (error) {
    // It is no mount point (any more).
    if (hasErrno(error, 'EINVAL', 'ENOENT')) return;
    throw BerthError.from(error, hasErrno(error, 'EBUSY') ? `${path} is in use; end what uses it first` : path);
  }
}
