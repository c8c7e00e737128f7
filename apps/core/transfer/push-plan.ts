import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { Reference } from '#common/reference.ts';
import type { ContentStore } from '../content/store.ts';
import { type Descriptor, MAX_DOCUMENT, type Platform, parseDocument } from '../registry/document.ts';
import { isIndex, isManifest } from '../registry/media-types.ts';
import { childrenOf, MAX_INDEX_DEPTH, selectManifests } from './image-graph.ts';

/** A part of an image on its way to a registry. */
export interface PushPart {
  readonly descriptor: Descriptor;
  /** What it was found in; undefined for the image's root. */
  readonly parent: Descriptor | undefined;
  /** Labels and annotations that tell which repositories have the part. */
  readonly sources: Readonly<Record<string, string>>;
}

/** What to push, each part once. */
export interface PushPlan {
  readonly blobs: readonly PushPart[];
  readonly manifests: readonly PushPart[];
  /** The innermost first. */
  readonly indexes: readonly PushPart[];
}

/**
 * Reads an image's manifests and lists its parts. An index is pushed as it is, also when some of its platforms are not.
 * @throws not_found when a manifest isn't there, or the image isn't for the platforms; invalid_argument.
 */
export async function planPush(
  content: ContentStore,
  image: { readonly ns: string; readonly name: string; readonly target: Descriptor },
  platforms: readonly Platform[],
): Promise<PushPlan> {
  const plan = { blobs: [] as PushPart[], manifests: [] as PushPart[], indexes: [] as PushPart[] };
  const seen = new Set<string>();
  const { ns, name } = image;

  const visit = async (part: PushPart, depth: number): Promise<void> => {
    const { descriptor } = part;
    if (seen.has(descriptor.digest)) return;
    seen.add(descriptor.digest);
    if (!isIndex(descriptor.mediaType) && !isManifest(descriptor.mediaType)) {
      plan.blobs.push(part);
      return;
    }
    if (depth > MAX_INDEX_DEPTH) throw new BerthError('invalid_argument', `${name}: its indexes are nested too deeply`);
    const document = parseDocument(await content.readAll(ns, descriptor.digest, MAX_DOCUMENT), descriptor);
    const selects = document.kind === 'index' && depth === 0;
    const children = selects ? selectManifests(document, { platforms, limit: 0 }, name) : childrenOf(document);
    const sources = { ...descriptor.annotations, ...content.info(ns, descriptor.digest).labels };
    for (const child of children) await visit({ descriptor: child, parent: descriptor, sources }, depth + 1);
    if (document.kind === 'index') plan.indexes.push(part);
    else plan.manifests.push(part);
  };
  await visit({ descriptor: image.target, parent: undefined, sources: {} }, 0);
  return plan;
}

/**
 * The repository to borrow a blob from: of those that are known to have it, the one whose path has most in common with
 * the target's.
 */
export function mountSource(
  { domain, path }: Reference,
  sources: Readonly<Record<string, string>>,
): string | undefined {
  const known = sources[`${labelKeys.distributionSource}.${domain.replace(/:[0-9]+$/, '')}`] ?? '';
  const others = known.split(',').filter((repository) => repository !== '' && repository !== path);
  const wanted = path.split('/');
  const shared = (repository: string): number => {
    const components = repository.split('/');
    const end = components.findIndex((component, index) => component !== wanted[index]);
    return end < 0 ? components.length : end;
  };
  return others.sort((a, b) => shared(b) - shared(a))[0];
}
