import { ifFound } from '../if-found.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatAge, formatSize, shortDigest } from '../output/format.ts';
import type { Session } from '../session.ts';
import { manifestOf, type StoredImage, storedImage } from './image-content.ts';

/** `berth images list` */
export async function listImages(session: Session, filters: readonly string[]): Promise<void> {
  const { images } = await session.core.images.list({ filters: [...filters] }, session);
  const rows = [];
  for (const image of sortedBy(images, ({ name }) => name)) {
    const stored = storedImage(image);
    rows.push({
      name: image.name,
      digest: stored.target.digest,
      mediaType: stored.target.mediaType,
      size: await sizeOf(session, stored),
      createdAt: timeOf(image.createdAt),
      updatedAt: timeOf(image.updatedAt),
      labels: image.labels,
    });
  }
  session.list(rows, [
    { head: 'NAME', of: ({ name }) => name },
    { head: 'DIGEST', of: ({ digest }) => shortDigest(digest) },
    { head: 'SIZE', of: ({ size }) => (size === null ? '-' : formatSize(size)), align: 'right' },
    { head: 'AGE', of: ({ updatedAt }) => formatAge(updatedAt), align: 'right' },
  ]);
}

/** Bytes of the image's content for this machine, compressed as it was pulled; null when that isn't all known. */
async function sizeOf(session: Session, image: StoredImage): Promise<number | null> {
  const found = await ifFound(manifestOf(session, image));
  if (found === undefined) return null;
  const { descriptor, manifest } = found;
  const parts = [descriptor, manifest.config, ...(manifest.layers ?? [])];
  const size = parts.reduce((sum, part) => sum + (part?.size ?? Number.NaN), 0);
  return Number.isNaN(size) ? null : size;
}
