import { BerthError, isCode } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';
import type { Image, ImageInput, ImageStore } from '../images/store.ts';
import type { Descriptor } from '../registry/document.ts';

/** `containerd.types.transfer.ImageReference`: a name, or the rule for one. */
export interface NameRule {
  readonly name: string;
  /** The name is a repository; the tag comes from the archive. */
  readonly isPrefix: boolean;
  /** A full reference in the archive stands, whatever its repository. */
  readonly allowOverwrite: boolean;
  readonly addDigest: boolean;
  readonly skipNamedDigest: boolean;
}

/** Where a transfer stores its images. */
export interface ImageDestination {
  readonly ns: string;
  readonly name: string;
  readonly labels: Labels;
  readonly rules: readonly NameRule[];
}

/** Bytes of key and value. */
const MAX_ANNOTATION = 4096;

const IMAGE_NAME = 'io.containerd.image.name';
const REF_NAME = 'org.opencontainers.image.ref.name';

/** Names for the root of a transfer: the one asked for, and the extra ones that need no archive to complete them. */
export function rootNames({ name, rules }: ImageDestination, root: Descriptor): string[] {
  const extra = rules
    .filter((rule) => !rule.isPrefix || rule.addDigest)
    .map((rule) => (rule.addDigest ? `${rule.name}@${root.digest}` : rule.name));
  return [...new Set([...(name === '' ? [] : [name]), ...extra])];
}

/** Names for an image inside an archive, by what the archive calls it and the caller's rules. */
export function archiveNames({ name, rules }: ImageDestination, image: Descriptor): string[] {
  if (name === '' && rules.length === 0) {
    // Without any wish, an archive's full names are as good as the caller's.
    const full = annotatedName(image, (ref) => (/[/:@]/.test(ref) ? ref : ''));
    return full === '' ? [] : [full];
  }
  const names: string[] = [];
  for (const rule of rules) {
    if (!rule.isPrefix) continue;
    const named = annotatedName(image, (ref) => completed(ref, rule));
    if (named !== '') names.push(named);
    if (rule.addDigest && (named === '' || !rule.skipNamedDigest)) names.push(`${rule.name}@${image.digest}`);
  }
  return [...new Set(names)];
}

/** Points one of the names to an image, whether or not the name existed. */
export function storeImage(
  images: ImageStore,
  destination: ImageDestination,
  name: string,
  { mediaType, digest, size, annotations = {} }: Descriptor,
): Image {
  const { ns } = destination;
  const target = {
    mediaType,
    digest,
    size,
    annotations: Object.fromEntries(Object.entries(annotations).filter(isShort)),
  };
  const input: ImageInput = { name, target, labels: labelsOf(destination, name) };
  for (;;) {
    try {
      return images.create(ns, input);
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
    }
    try {
      return images.update(ns, input);
    } catch (error) {
      // Deleted in between: create it after all.
      if (!isCode(error, 'not_found')) throw error;
    }
  }
}

/** What an archive says about its images is kept while it is no longer than a label: lists answer with all of it. */
function isShort([key, value]: readonly [string, string]): boolean {
  return Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_ANNOTATION;
}

/** Extra names go with the name that was asked for: they are collected once that one is removed. */
function labelsOf({ name: main, labels }: ImageDestination, name: string): Labels {
  if (main === '' || name === main) return labels;
  const now = Temporal.Now.instant().toString({ smallestUnit: 'second' });
  return { ...labels, [labelKeys.gcBackReferenceImage]: main, [labelKeys.gcExpire]: now };
}

/** @throws not_found when a transfer ends without any name. */
export function requireNames(names: readonly string[], what: string): void {
  if (names.length > 0) return;
  throw new BerthError('not_found', `${what} has no image name: give one`);
}

function annotatedName({ annotations }: Descriptor, complete: (ref: string) => string): string {
  const full = annotations?.[IMAGE_NAME] ?? '';
  // containerd's annotation is a whole reference: it is taken as it is or not at all.
  if (full !== '') return complete(full) === full ? full : '';
  const ref = annotations?.[REF_NAME] ?? '';
  return ref === '' ? '' : complete(ref);
}

function completed(ref: string, { name, allowOverwrite }: NameRule): string {
  if (!/[/:@]/.test(ref)) return `${name}:${ref}`;
  const inside = ref.startsWith(name) && (ref.length === name.length || '/:@'.includes(ref[name.length] as string));
  return allowOverwrite || inside ? ref : '';
}
