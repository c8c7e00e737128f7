import { isDigest } from '#common/digest.ts';
import { formatReference } from '#common/reference.ts';
import type { ImageRecord } from './core-images.ts';
import { pinnedLabel, pullName, sortNames } from './image-names.ts';
import type { ImageFacts } from './image-reader.ts';
import type { ResolvedImage } from './image-service.ts';

interface Entry {
  readonly record: ImageRecord;
  readonly facts: ImageFacts;
}

/** The images of berthd in memory: names, and the images that they stand for. */
export class ImageCache {
  readonly #byName = new Map<string, Entry>();
  readonly #images = new Map<string, ResolvedImage>();

  /** What is known of a manifest or index, to spare reading it again. */
  facts(targetDigest: string): ImageFacts | undefined {
    for (const { record, facts } of this.#byName.values()) {
      if (record.target.digest === targetDigest) return facts;
    }
    return undefined;
  }

  get names(): IterableIterator<string> {
    return this.#byName.keys();
  }

  set(record: ImageRecord, facts: ImageFacts): void {
    const before = this.#byName.get(record.name)?.facts.id;
    this.#byName.set(record.name, { record, facts });
    if (before !== undefined && before !== facts.id) this.#rebuild(before);
    this.#rebuild(facts.id);
  }

  delete(name: string): void {
    const entry = this.#byName.get(name);
    this.#byName.delete(name);
    if (entry !== undefined) this.#rebuild(entry.facts.id);
  }

  list(): ResolvedImage[] {
    return [...this.#images.values()];
  }

  /** What is known of an image by its id. */
  factsOf(id: string): ImageFacts | undefined {
    return this.#byName.values().find(({ facts }) => facts.id === id)?.facts;
  }

  /** All names of an image. */
  namesOf(id: string): string[] {
    return [...this.#byName.values()].filter(({ facts }) => facts.id === id).map(({ record }) => record.name);
  }

  /** Sizes of all blobs of all images. */
  blobs(): Map<string, number> {
    const blobs = new Map<string, number>();
    for (const { facts } of this.#byName.values()) for (const [digest, size] of facts.blobs) blobs.set(digest, size);
    return blobs;
  }

  /**
   * By id, whole or the beginning of its hexadecimal part; by name; or by digest of a manifest.
   *
   * @throws `invalid_argument` for what can be none of these.
   */
  find(reference: string): ResolvedImage | undefined {
    const direct = this.#images.get(reference) ?? this.#byNameOrDigest(reference);
    if (direct !== undefined || isDigest(reference)) return direct;
    const isName = !/^[0-9a-f]{64}$/.test(reference);
    const named = isName ? this.#byNameOrDigest(formatReference(pullName(reference))) : undefined;
    return named ?? this.#byPrefix(reference);
  }

  #byNameOrDigest(name: string): ResolvedImage | undefined {
    const entry = this.#byName.get(name);
    const facts = entry?.facts ?? (isDigest(name) ? this.facts(name) : undefined);
    return facts === undefined ? undefined : this.#images.get(facts.id);
  }

  /** A beginning that several images share names none of them. */
  #byPrefix(prefix: string): ResolvedImage | undefined {
    if (!/^(sha256:)?[0-9a-f]{4,}$/.test(prefix)) return undefined;
    const whole = prefix.startsWith('sha256:') ? prefix : `sha256:${prefix}`;
    const found = [...this.#images.values()].filter(({ id }) => id.startsWith(whole));
    return found.length === 1 ? found[0] : undefined;
  }

  #rebuild(id: string): void {
    const entries = [...this.#byName.values()].filter(({ facts }) => facts.id === id);
    const facts = entries[0]?.facts;
    if (facts === undefined) {
      this.#images.delete(id);
      return;
    }
    const { repoTags, repoDigests } = sortNames(entries.map(({ record }) => record.name));
    this.#images.set(id, {
      id,
      name: repoTags[0] ?? repoDigests[0] ?? entries[0]?.record.name ?? id,
      chainId: facts.chainId,
      config: facts.config,
      size: BigInt([...facts.blobs.values()].reduce((sum, size) => sum + size, 0)),
      repoTags,
      repoDigests,
      ...imageUser(facts.config.config?.User ?? ''),
      pinned: entries.some(({ record }) => isPinned(record)),
    });
  }
}

function isPinned({ labels }: ImageRecord): boolean {
  return Object.entries(pinnedLabel).every(([key, value]) => labels[key] === value);
}

/** The user part of an image's `User` ("user", "uid", "user:group", …); a number counts as a uid if it can be one. */
function imageUser(user: string): { uid?: bigint; username: string } {
  const [name = ''] = user.split(':');
  return /^\d{1,10}$/.test(name) ? { uid: BigInt(name), username: '' } : { username: name };
}
