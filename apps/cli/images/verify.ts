import { hasherFor } from '#common/digest.ts';
import { BerthError, messageOf } from '#common/errors.ts';
import type { Descriptor, Index, Manifest } from '#common/oci/image.ts';
import { ifFound } from '../if-found.ts';
import { sortedBy } from '../output/facts.ts';
import { formatSize } from '../output/format.ts';
import type { Session } from '../session.ts';
import { findImage, isIndex, readDocument } from './image-content.ts';

type BlobFacts = Pick<Descriptor, 'digest' | 'size'>;

interface Checked extends BlobFacts {
  /** What is wrong; null for a blob that is as its digest says. */
  readonly fault: string | null;
  /** Names of the images that need it, as far as they were asked for. */
  readonly images: readonly string[];
}

/**
 * `berth images verify`: reads every blob again, of some images or of the whole namespace, and tells which of them are
 * not what their digests say. @throws data_loss when there is such a blob
 */
export async function verifyImages(session: Session, names: readonly string[]): Promise<void> {
  const users = new Map<string, { readonly blob: BlobFacts; readonly images: string[] }>();
  const use = (blob: BlobFacts, ...images: string[]) => {
    const known = users.get(blob.digest);
    if (known === undefined) users.set(blob.digest, { blob, images });
    else known.images.push(...images);
  };
  for (const name of names) {
    const image = await findImage(session, name);
    for (const blob of await blobsBelow(session, image.target)) use(blob, image.name);
  }
  if (names.length === 0) for (const blob of await allBlobs(session)) use(blob);

  const checked: Checked[] = [];
  for (const { blob, images } of sortedBy([...users.values()], (user) => user.blob.digest)) {
    const fault = await faultOf(session, blob);
    checked.push({ digest: blob.digest, size: blob.size, fault, images: [...new Set(images)] });
  }
  report(session, checked);
}

function report(session: Session, checked: readonly Checked[]): void {
  const faulty = checked.filter(({ fault }) => fault !== null);
  const bytes = checked.reduce((sum, { size }) => sum + size, 0);
  const summary = `verified ${checked.length} blobs, ${formatSize(bytes)}`;
  if (session.json) session.print(() => '', { verified: checked.length, bytes, faulty });
  else if (faulty.length === 0) session.print(() => summary, undefined);
  else {
    session.list(faulty, [
      { head: 'DIGEST', of: ({ digest }) => digest },
      { head: 'FAULT', of: ({ fault }) => fault ?? '' },
      { head: 'IMAGES', of: ({ images }) => images.join(',') || '-' },
    ]);
  }
  if (faulty.length === 0) return;
  const fix = '"berth content remove" the damaged ones and pull or import the image again';
  throw new BerthError('data_loss', `${summary}: ${faulty.length} are not what they should be; ${fix}`);
}

/** The target and what it names. Of an index, manifests that aren't here are other machines' and nobody misses them. */
async function blobsBelow(session: Session, target: Descriptor): Promise<BlobFacts[]> {
  if (!isIndex(target)) return [target, ...(await blobsOfManifest(session, target))];
  const manifests = (await documentIfSound<Index>(session, target))?.manifests ?? [];
  const blobs: BlobFacts[] = [];
  for (const descriptor of manifests) {
    const held = await ifFound(session.core.content.info({ digest: descriptor.digest }, session));
    if (held !== undefined) blobs.push(descriptor, ...(await blobsOfManifest(session, descriptor)));
  }
  // With none of them it isn't an image.
  return blobs.length > 0 ? [target, ...blobs] : [target, ...manifests.slice(0, 1)];
}

async function blobsOfManifest(session: Session, descriptor: Descriptor): Promise<BlobFacts[]> {
  const manifest = await documentIfSound<Manifest>(session, descriptor);
  return manifest === undefined ? [] : [manifest.config, ...(manifest.layers ?? [])];
}

/** undefined for one that is missing or damaged: checking the blob itself says so. */
async function documentIfSound<T>(session: Session, descriptor: Descriptor): Promise<T | undefined> {
  if ((await faultOf(session, descriptor)) !== null) return undefined;
  return readDocument<T>(session, descriptor);
}

async function allBlobs(session: Session): Promise<BlobFacts[]> {
  const blobs: BlobFacts[] = [];
  for await (const { info } of session.core.content.list({}, session)) {
    blobs.push(...info.map(({ digest, size }) => ({ digest, size: Number(size) })));
  }
  return blobs;
}

async function faultOf(session: Session, { digest, size }: BlobFacts): Promise<string | null> {
  const hash = hasherFor(digest);
  let read = 0;
  try {
    for await (const { data } of session.core.content.read({ digest }, session)) {
      hash.update(data);
      read += data.length;
    }
  } catch (error) {
    session.signal.throwIfAborted();
    const { code } = BerthError.from(error);
    if (code === 'unavailable') throw error;
    return code === 'not_found' ? 'missing' : `unreadable: ${messageOf(error)}`;
  }
  if (read !== size) return `${read} bytes instead of ${size}`;
  return hash.digest('hex') === digest.slice(digest.indexOf(':') + 1) ? null : 'damaged';
}
