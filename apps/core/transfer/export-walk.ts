import { BerthError } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import { type Descriptor, MAX_DOCUMENT, type Manifest, type Platform, parseDocument } from '../registry/document.ts';
import { isIndex, isManifest, isNonDistributable } from '../registry/media-types.ts';
import { MAX_INDEX_DEPTH, selectManifests } from './image-graph.ts';

/** A manifest that is exported, with the platform that its index gives it. */
export interface ExportedManifest extends Manifest {
  readonly platform: Platform | undefined;
}

export interface ExportChoice {
  readonly ns: string;
  /** None: all of them. */
  readonly platforms: readonly Platform[];
  readonly skipNonDistributable: boolean;
}

/** Collects the blobs of images, each once, parents before their children. */
export class ExportWalk {
  readonly #content: ContentStore;
  readonly #choice: ExportChoice;
  readonly #blobs = new Map<string, number>();

  constructor(content: ContentStore, choice: ExportChoice) {
    this.#content = content;
    this.#choice = choice;
  }

  get blobs(): { readonly digest: string; readonly size: number }[] {
    return [...this.#blobs].map(([digest, size]) => ({ digest, size }));
  }

  /** Adds an image. Answers its manifests. @throws not_found when a part of it isn't there. */
  async add(root: Descriptor, name: string): Promise<ExportedManifest[]> {
    return await this.#visit(root, name, 0);
  }

  async #visit(descriptor: Descriptor, name: string, depth: number): Promise<ExportedManifest[]> {
    const { ns, platforms } = this.#choice;
    this.#addBlob(descriptor);
    if (!isIndex(descriptor.mediaType) && !isManifest(descriptor.mediaType)) return [];
    const bytes = await this.#content.readAll(ns, descriptor.digest, MAX_DOCUMENT);
    const document = parseDocument(bytes, descriptor);
    if (document.kind === 'index') {
      if (depth === MAX_INDEX_DEPTH) throw new BerthError('invalid_argument', `${name}: indexes lie too deep`);
      const manifests: ExportedManifest[] = [];
      for (const child of selectManifests(document, { platforms, limit: 0 }, name)) {
        manifests.push(...(await this.#visit(child, name, depth + 1)));
      }
      return manifests;
    }
    for (const child of [document.config, ...document.layers]) {
      if (!this.#choice.skipNonDistributable || !isNonDistributable(child.mediaType)) this.#addBlob(child);
    }
    return [{ ...document, platform: descriptor.platform }];
  }

  /** The size is the store's: a descriptor's is only what somebody wrote. */
  #addBlob({ digest }: Descriptor): void {
    if (!this.#blobs.has(digest)) this.#blobs.set(digest, this.#content.info(this.#choice.ns, digest).size);
  }
}
