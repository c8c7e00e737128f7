import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { Descriptor, Index, Manifest, Platform } from '../registry/document.ts';
import { isConfig, isLayer, isManifest } from '../registry/media-types.ts';
import { descriptorDistance, formatPlatform } from '../registry/platform.ts';

/** Indexes may point to indexes; deeper than this nobody builds. */
export const MAX_INDEX_DEPTH = 4;

/** Which parts of an index are wanted. */
export interface Selection {
  /** None: all of them. */
  readonly platforms: readonly Platform[];
  /** At most so many manifests of an index, the best matches; 0: no limit. */
  readonly limit: number;
  /** Whether to take manifests and configs of the other platforms too, without their layers. */
  readonly allMetadata?: boolean;
}

/**
 * The manifests of an index that serve the selection: for each platform wanted, those that match it best.
 * @throws not_found that names the platforms wanted and there.
 */
export function selectManifests(index: Index, selection: Selection, name: string): Descriptor[] {
  const { platforms, limit } = selection;
  if (platforms.length === 0) return limit > 0 ? index.manifests.slice(0, limit) : [...index.manifests];
  const chosen = new Map<Descriptor, number>();
  for (const wanted of platforms) {
    const distances = index.manifests.map((manifest) => [manifest, descriptorDistance([wanted], manifest)] as const);
    const best = Math.min(...distances.map(([, distance]) => distance ?? Number.POSITIVE_INFINITY));
    for (const [manifest, distance] of distances) if (distance === best) chosen.set(manifest, best);
  }
  const list = [...chosen].sort(([, a], [, b]) => a - b).map(([manifest]) => manifest);
  if (list.length > 0) return limit > 0 ? list.slice(0, limit) : list;
  const offered = index.manifests.map(({ platform }) => platform).filter((platform) => platform !== undefined);
  const there = [...new Set(offered.map(formatPlatform))].join(', ') || 'nothing';
  const wanted = platforms.map(formatPlatform).join(', ');
  throw new BerthError('not_found', `${name} has no image for ${wanted}; it has ${there}`);
}

/** What a document refers to, as far as it is kept. */
export function childrenOf(document: Manifest | Index): readonly Descriptor[] {
  return document.kind === 'index' ? document.manifests : [document.config, ...document.layers];
}

/** The labels that keep the children while their parent is kept (containerd, docs/garbage-collection.md). */
export function referenceLabels(children: readonly Descriptor[]): Record<string, string> {
  const counts = new Map<string, number>();
  const labels: Record<string, string> = {};
  for (const { mediaType, digest } of children) {
    const kind = childKind(mediaType);
    const count = counts.get(kind) ?? 0;
    counts.set(kind, count + 1);
    const numbered = kind !== 'config' || count > 0;
    labels[`${labelKeys.gcRefContent}${kind === '' ? '' : `.${kind}`}${numbered ? `.${count}` : ''}`] = digest;
  }
  return labels;
}

function childKind(mediaType: string): string {
  if (isManifest(mediaType)) return 'm';
  if (isConfig(mediaType)) return 'config';
  return isLayer(mediaType) ? 'l' : '';
}
