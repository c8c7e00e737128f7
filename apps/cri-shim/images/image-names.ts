import { isDigest } from '#common/digest.ts';
import { formatReference, parseReference, type Reference, repositoryName, withDefaultTag } from '#common/reference.ts';

/** Label of every image record that the CRI made or adopted, as containerd's CRI writes it. */
export const managedLabel = { 'io.cri-containerd.image': 'managed' } as const;
/** Label of an image that the kubelet must not collect. */
export const pinnedLabel = { 'io.cri-containerd.pinned': 'pinned' } as const;

/**
 * The form in which a reference is pulled and stored: with the default tag, and without the tag when there is a digest,
 * which alone counts then.
 *
 * @throws `invalid_argument`, naming the reference.
 */
export function pullName(reference: string): Reference {
  const { domain, path, digest, tag } = withDefaultTag(parseReference(reference));
  return { domain, path, ...(digest !== undefined ? { digest } : tag !== undefined ? { tag } : {}) };
}

/** The names that a pulled image gets: its id, its tag if it was pulled by one, and its digest. */
export function namesOf(pulled: Reference, id: string, targetDigest: string): string[] {
  const { domain, path } = pulled;
  const names = [id, formatReference({ domain, path, digest: targetDigest })];
  return pulled.tag === undefined ? names : [...names, formatReference(pulled)];
}

/** Which kind of name an image record has. Names of other clients may be no references at all. */
export function sortNames(names: Iterable<string>): { repoTags: string[]; repoDigests: string[] } {
  const repoTags = new Set<string>();
  const repoDigests = new Set<string>();
  for (const name of names) {
    const reference = isDigest(name) ? undefined : referenceOf(name);
    if (reference?.digest !== undefined) repoDigests.add(`${repositoryName(reference)}@${reference.digest}`);
    else if (reference?.tag !== undefined) repoTags.add(formatReference(reference));
  }
  return { repoTags: [...repoTags].sort(), repoDigests: [...repoDigests].sort() };
}

function referenceOf(name: string): Reference | undefined {
  try {
    return parseReference(name);
  } catch {
    return undefined;
  }
}
