import { isCode } from '#common/errors.ts';
import type { Labels } from '#common/labels.ts';
import { formatReference, parseReference } from '#common/reference.ts';
import type { Image, ImageStore } from '../images/store.ts';
import type { Database } from '../metadata/database.ts';
import type { ArchiveFile } from './archive-files.ts';

/** The kubelet's garbage collection leaves images with this label alone (containerd's CRI). */
export const pinnedLabel = { 'io.cri-containerd.pinned': 'pinned' } as const;
/** Followed by the identity of an archive that brought the image; the value is `<number of its names> <file name>`. */
const archivePrefix = 'berth.drop/';

/** What images say about the archives that they came from. There is no other record of what was imported. */
export class DroppedImages {
  readonly #db: Pick<Database, 'tx'>;
  readonly #images: ImageStore;
  readonly #ns: string;

  constructor(db: Pick<Database, 'tx'>, images: ImageStore, ns: string) {
    this.#db = db;
    this.#images = images;
    this.#ns = ns;
  }

  /** Identities of the archives whose images are all there. */
  whole(): Set<string> {
    const found = new Map<string, { names: number; readonly wanted: number }>();
    for (const { labels } of this.#dropped()) {
      for (const [identity, value] of archivesOf(labels)) {
        const archive = found.get(identity) ?? { names: 0, wanted: Number.parseInt(value, 10) };
        archive.names++;
        found.set(identity, archive);
      }
    }
    return new Set([...found].filter(([, { names, wanted }]) => names >= wanted).map(([identity]) => identity));
  }

  /** Pins the images that an archive brought, and gives each its name by digest too, by which pods may ask for it. */
  pin(archive: ArchiveFile, names: readonly string[]): void {
    this.#db.tx(() => {
      const all = new Set(names);
      for (const name of names) {
        const { target } = this.#images.get(this.#ns, name);
        const byDigest = digestName(name, target.digest);
        if (byDigest === undefined || all.has(byDigest)) continue;
        all.add(byDigest);
        try {
          this.#images.create(this.#ns, { name: byDigest, target });
        } catch (error) {
          if (!isCode(error, 'already_exists')) throw error;
        }
      }
      const labels = { ...pinnedLabel, [archivePrefix + archive.identity]: `${all.size} ${archive.name}` };
      for (const name of all) this.#label(this.#images.get(this.#ns, name), labels);
    });
  }

  /** Unpins images once no archive that brought them `isThere` any more. Answers their names. */
  release(isThere: (identity: string, fileName: string) => boolean): string[] {
    return this.#db.tx(() => {
      const unpinned: string[] = [];
      for (const image of this.#dropped()) {
        const archives = archivesOf(image.labels);
        const gone = archives.filter(([identity, value]) => !isThere(identity, value.slice(value.indexOf(' ') + 1)));
        if (gone.length === 0) continue;
        const last = gone.length === archives.length;
        if (last) unpinned.push(image.name);
        const keys = [...gone.map(([identity]) => archivePrefix + identity), ...(last ? Object.keys(pinnedLabel) : [])];
        this.#label(image, Object.fromEntries(keys.map((key) => [key, ''])));
      }
      return unpinned;
    });
  }

  #dropped(): Image[] {
    return this.#images.list(this.#ns).filter(({ labels }) => archivesOf(labels).length > 0);
  }

  /** An empty value takes a label away. */
  #label({ name, target }: Image, labels: Labels): void {
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    this.#images.update(this.#ns, { name, target, labels }, paths);
  }
}

function archivesOf(labels: Labels): (readonly [string, string])[] {
  return Object.entries(labels)
    .filter(([key]) => key.startsWith(archivePrefix))
    .map(([key, value]) => [key.slice(archivePrefix.length), value] as const);
}

/** undefined for a name that is no reference, or has a digest already. */
function digestName(name: string, digest: string): string | undefined {
  try {
    const reference = parseReference(name);
    if (reference.digest !== undefined) return undefined;
    return formatReference({ domain: reference.domain, path: reference.path, digest });
  } catch (error) {
    if (isCode(error, 'invalid_argument')) return undefined;
    throw error;
  }
}
