import { BerthError } from '#common/errors.ts';
import type { VerifyResponse__Output } from '#proto/berth/services/store/v1/VerifyResponse.ts';
import { formatSize } from '../output/format.ts';
import { advised, type Session } from '../session.ts';
import { findImage } from './image-content.ts';

/**
 * `berth images verify`: has berthd read every blob and every unpacked layer again, of some images or of the whole
 * namespace, and with `repair` mend what is damaged.
 * @throws data_loss when something is, and stays, damaged
 */
export async function verifyImages(session: Session, names: readonly string[], repair: boolean): Promise<void> {
  const images: string[] = [];
  for (const name of names) images.push((await findImage(session, name)).name);
  const looks = await advised(look(session, images, repair), {
    unimplemented: 'only berthd verifies, no other containerd',
  });
  report(session, looks);
}

async function look(session: Session, images: string[], repair: boolean): Promise<VerifyResponse__Output[]> {
  return await Array.fromAsync(session.core.store.verify({ images, repair }, session));
}

function report(session: Session, looks: readonly VerifyResponse__Output[]): void {
  const blobs = looks.filter(({ kind }) => kind === 'blob');
  const bytes = blobs.reduce((sum, blob) => sum + Number(blob.bytes), 0);
  const snapshots = looks.length - blobs.length;
  const faulty = looks.filter(({ fault }) => fault !== '');
  const left = faulty.filter(({ repaired }) => !repaired);
  const summary = `verified ${blobs.length} blobs, ${formatSize(bytes)}, and ${snapshots} snapshots`;
  if (session.json) {
    const told = faulty.map(({ bytes: _, ...rest }) => rest);
    session.print(() => '', { blobs: blobs.length, bytes, snapshots, faulty: told });
  } else if (faulty.length === 0) session.print(() => summary, undefined);
  else {
    session.list(faulty, [
      { head: 'KIND', of: ({ kind }) => kind },
      { head: 'ID', of: ({ id }) => id },
      { head: 'FAULT', of: ({ fault }) => fault },
      { head: 'REPAIR', of: ({ repaired, hindrance }) => (repaired ? 'repaired' : hindrance || '-') },
      { head: 'IMAGES', of: ({ images }) => images.join(',') || '-' },
    ]);
  }
  if (left.length === 0) return;
  const fix = '--repair fetches blobs and unpacks snapshots again; what has no registry has to be imported again';
  throw new BerthError('data_loss', `${summary}: ${left.length} are not what they should be; ${fix}`);
}
