import { sha256 } from '#common/digest.ts';
import { BerthError, isCode } from '#common/errors.ts';
import { type Descriptor, type ImageConfig, type Index, type Manifest, mediaTypes } from '#common/oci/image.ts';
import { architecture } from '#common/oci/image-archive.ts';
import { normalizeReference } from '#common/reference.ts';
import type { Image__Output } from '#proto/containerd/services/images/v1/Image.ts';
import { ifFound } from '../if-found.ts';
import { advised, type Session } from '../session.ts';

/** Documents of images are small; a bigger one isn't one. */
const maxDocumentBytes = 8 * 1024 * 1024;
const indexTypes: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerIndex];

/** An image as it is stored: its name and what the name stands for. */
export interface StoredImage {
  readonly name: string;
  readonly target: Descriptor;
}

/** A manifest with its descriptor. */
export interface FoundManifest {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

/**
 * The image of a name, given in full or as people write it.
 * @throws BerthError not_found
 */
export async function findImage(session: Session, name: string): Promise<StoredImage> {
  const { image } = await getImage(session, name).catch((error: unknown) => {
    const full = isCode(error, 'not_found') ? normalized(name) : name;
    if (full === name) throw error;
    return advised(getImage(session, full), { not_found: 'see "berth images list", or pull it' });
  });
  if (!image?.target) throw new BerthError('internal', `image "${name}": the daemon answers without a target`);
  return storedImage(image);
}

export function storedImage({ name, target }: Image__Output): StoredImage {
  return {
    name,
    target: { mediaType: target?.mediaType ?? '', digest: target?.digest ?? '', size: Number(target?.size ?? 0) },
  };
}

export function isIndex({ mediaType }: Descriptor): boolean {
  return indexTypes.includes(mediaType);
}

/**
 * The manifest of an image for this machine, or its only one that is there.
 * @throws BerthError not_found when its content isn't there
 */
export async function manifestOf(session: Session, image: StoredImage): Promise<FoundManifest> {
  const { target } = image;
  if (!isIndex(target)) return { descriptor: target, manifest: await readDocument<Manifest>(session, target) };
  const { manifests } = await readDocument<Index>(session, target);
  const native = ({ platform }: Descriptor) => platform?.os === 'linux' && platform.architecture === architecture();
  const ordered = [...manifests.filter(native), ...manifests.filter((descriptor) => !native(descriptor))];
  for (const descriptor of ordered) {
    const manifest = await ifFound(readDocument<Manifest>(session, descriptor));
    if (manifest !== undefined) return { descriptor, manifest };
  }
  throw new BerthError('not_found', `image "${image.name}" has none of its manifests here: pull it`);
}

export async function configOf(session: Session, { config }: Manifest): Promise<ImageConfig> {
  return readDocument<ImageConfig>(session, config);
}

/** The chain id of all layers (image-spec config.md, "Layer ChainID"): the key of the unpacked image. */
export function chainOf({ rootfs }: ImageConfig): string {
  const [first = '', ...others] = rootfs?.diff_ids ?? [];
  return others.reduce((chain, diffId) => sha256(`${chain} ${diffId}`), first);
}

/** @throws BerthError not_found; invalid_argument for what can't be a document */
export async function readDocument<T>(session: Session, { digest, size }: Descriptor): Promise<T> {
  if (size > maxDocumentBytes) {
    throw new BerthError('invalid_argument', `${digest} has ${size} bytes: too many for a document of an image`);
  }
  const pieces: Buffer[] = [];
  for await (const { data } of session.core.content.read({ digest, size }, session)) pieces.push(data);
  try {
    return JSON.parse(Buffer.concat(pieces).toString()) as T;
  } catch (error) {
    throw BerthError.from(error, `${digest} is no JSON`);
  }
}

/** The full form of a name; one that is no reference stays as it is. */
function normalized(name: string): string {
  try {
    return normalizeReference(name);
  } catch {
    return name;
  }
}

function getImage(session: Session, name: string) {
  return session.core.images.get({ name }, session);
}
