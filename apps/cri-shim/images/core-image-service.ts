import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode } from '#common/errors.ts';
import type { Channel } from '#common/grpc/client.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import { formatReference } from '#common/reference.ts';
import { importPauseImage } from '../pause/pause-image.ts';
import { CoreImages, type ImageRecord } from './core-images.ts';
import { ImageCache } from './image-cache.ts';
import { LayerUsage } from './image-filesystem.ts';
import { managedLabel, namesOf, pinnedLabel, pullName } from './image-names.ts';
import { ImagePuller } from './image-puller.ts';
import { readImage } from './image-reader.ts';
import type { ImageFilesystem, ImageService, PullCredentials, ResolvedImage } from './image-service.ts';
import { ImageUnpacker } from './image-unpacker.ts';
import { isPauseReference } from './pause-reference.ts';
import { SharedCalls } from './shared-calls.ts';

export interface ImageServiceOptions {
  readonly channel: Channel;
  /** containerd namespace of the images; the channel's calls go there. */
  readonly namespace: string;
  readonly snapshotter: string;
  /** Folder of the registries' `hosts.toml` files. */
  readonly hostsDirectory: string;
  /** Reference of the image of pod sandboxes. */
  readonly sandboxImage: string;
  /** Whether pulls of Kubernetes' pause image are answered with the built-in one. */
  readonly servePause: boolean;
  readonly log: Logger;
}

/** Before berthd's events are asked for again. */
const RESUBSCRIBE_MS = 500;

/** The ImageService over berthd, or any other containerd, with a cache that follows berthd's events. */
export class CoreImageService implements ImageService {
  readonly #options: ImageServiceOptions;
  readonly #core: CoreImages;
  readonly #puller: ImagePuller;
  readonly #unpacker: ImageUnpacker;
  readonly #usage: LayerUsage;
  readonly #cache = new ImageCache();
  readonly #pulls = new SharedCalls<string>();
  /** Looks at one name happen one after another, so that the last one wins. */
  readonly #looks = new KeyedQueue();
  readonly #stop = new AbortController();
  #following: Promise<void> = Promise.resolve();

  constructor(options: ImageServiceOptions) {
    this.#options = options;
    this.#core = new CoreImages(options.channel, options.namespace);
    this.#puller = new ImagePuller(options);
    this.#unpacker = new ImageUnpacker(options.channel, options.snapshotter);
    this.#usage = new LayerUsage(options.channel, options.snapshotter);
  }

  async start(): Promise<void> {
    const changes = this.#core.changes(this.#stop.signal);
    await this.#loadAll();
    this.#following = this.#follow(changes);
  }

  async reload(): Promise<void> {
    await this.#loadAll();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }

  async pull(
    reference: string,
    { credentials, signal }: { credentials?: PullCredentials; signal?: AbortSignal } = {},
  ): Promise<string> {
    if (this.#options.servePause && isPauseReference(reference)) {
      return (this.find(reference) ?? (await this.#serveBuiltIn(reference, signal))).id;
    }
    const parsed = pullName(reference);
    const key = [formatReference(parsed), fingerprint(credentials)].join(' ');
    return this.#pulls.run(key, (pullSignal) => this.#pull(reference, credentials, pullSignal), signal);
  }

  list(reference = ''): readonly ResolvedImage[] {
    if (reference === '') return this.#cache.list();
    const image = this.find(reference);
    return image === undefined ? [] : [image];
  }

  find(reference: string): ResolvedImage | undefined {
    return this.#cache.find(reference);
  }

  async resolve(reference: string): Promise<ResolvedImage> {
    const image = this.find(reference);
    const facts = image === undefined ? undefined : this.#cache.factsOf(image.id);
    if (image === undefined || facts === undefined) {
      throw new BerthError('not_found', `image "${reference}" is not on this node: pull it first`);
    }
    await this.#unpacker.ensure(facts);
    return image;
  }

  async remove(reference: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const image = this.find(reference);
    if (image === undefined) return;
    const names = this.#cache.namesOf(image.id);
    await this.#core.waitReady();
    for (const [index, name] of names.entries()) {
      await this.#core.delete(name, index === names.length - 1, signal);
      await this.#look(name);
    }
    this.#unpacker.forget(image.chainId);
    this.#options.log.info({ id: image.id, names }, 'image removed');
  }

  async fsInfo(signal?: AbortSignal): Promise<ImageFilesystem> {
    await this.#core.waitReady();
    const [mountpoint, layers] = await Promise.all([this.#usage.root(signal), this.#usage.total(signal)]);
    const blobs = [...this.#cache.blobs().values()];
    return {
      timestampNs: BigInt(Date.now()) * 1_000_000n,
      mountpoint,
      usedBytes: layers.bytes + BigInt(blobs.reduce((sum, size) => sum + size, 0)),
      inodesUsed: layers.inodes + BigInt(blobs.length),
    };
  }

  async ensureSandboxImage(signal?: AbortSignal): Promise<ResolvedImage> {
    const { sandboxImage } = this.#options;
    const found = this.find(sandboxImage);
    if (found?.pinned) return found;
    if (found === undefined) return await this.#serveBuiltIn(sandboxImage, signal);
    const name = formatReference(pullName(sandboxImage));
    const record = await this.#core.get(name);
    if (record !== undefined) await this.#adopt(record, [name]);
    return this.resolve(name);
  }

  /** Stores the built-in pause image under a name. */
  async #serveBuiltIn(reference: string, signal: AbortSignal | undefined): Promise<ResolvedImage> {
    const name = formatReference(pullName(reference));
    const id = await this.#pulls.run(`built-in ${name}`, (shared) => this.#storeBuiltIn(name, shared), signal);
    const image = this.find(id);
    if (image === undefined) throw new BerthError('aborted', `image ${name} was removed right after its import`);
    return image;
  }

  async #storeBuiltIn(name: string, signal: AbortSignal): Promise<string> {
    const { channel, snapshotter, sandboxImage, log } = this.#options;
    const use = name === formatReference(pullName(sandboxImage)) ? 'sandboxes' : 'pulls';
    await importPauseImage(channel, name, snapshotter, use, signal);
    const record = await this.#core.get(name);
    if (record === undefined) throw new BerthError('aborted', `image ${name} was removed right after its import`);
    await this.#adopt(record, [name]);
    log.info({ image: name }, 'built-in pause image stored');
    return this.find(name)?.id ?? name;
  }

  async #pull(reference: string, credentials: PullCredentials | undefined, signal: AbortSignal): Promise<string> {
    const parsed = pullName(reference);
    const name = formatReference(parsed);
    const begin = performance.now();
    await this.#puller.pull({ reference: parsed, credentials, labels: this.#labels(name), signal });
    const record = await this.#core.get(name);
    if (record === undefined) throw new BerthError('aborted', `image ${name} was removed while it was being pulled`);
    await this.#look(name);
    const { id } = this.#cache.facts(record.target.digest) ?? (await readImage(this.#core, record.target));
    await this.#adopt(record, namesOf(parsed, id, record.target.digest));
    const tookMs = Math.round(performance.now() - begin);
    this.#options.log.info({ image: name, id, digest: record.target.digest, tookMs }, 'image pulled');
    return id;
  }

  /** Writes the names that the CRI keeps of an image, and has them in the cache when it resolves. */
  async #adopt(record: ImageRecord, names: readonly string[]): Promise<void> {
    const labels = this.#labels(record.name);
    for (const name of names) {
      const adopted =
        name === record.name && Object.entries(labels).every(([key, value]) => record.labels[key] === value);
      if (!adopted) await this.#core.put({ name, target: record.target, labels });
      await this.#look(name);
    }
  }

  #labels(name: string): Record<string, string> {
    const pinned = name === formatReference(pullName(this.#options.sandboxImage));
    return pinned ? { ...managedLabel, ...pinnedLabel } : managedLabel;
  }

  async #loadAll(): Promise<void> {
    const records = await this.#core.list();
    const names = new Set(records.map(({ name }) => name));
    for (const name of [...this.#cache.names]) if (!names.has(name)) this.#cache.delete(name);
    for (const record of records) await this.#remember(record);
  }

  /** Brings the cache up to date with what berthd has under a name. */
  #look(name: string): Promise<void> {
    return this.#looks.run(name, async () => {
      const record = await this.#core.get(name);
      if (record === undefined) this.#cache.delete(name);
      else await this.#remember(record);
    });
  }

  /** An image whose documents are not (all) there is none for the kubelet. */
  async #remember(record: ImageRecord): Promise<void> {
    try {
      const facts = this.#cache.facts(record.target.digest) ?? (await readImage(this.#core, record.target));
      this.#cache.set(record, facts);
    } catch (error) {
      if (!isCode(error, 'not_found', 'invalid_argument')) throw error;
      this.#options.log.debug({ err: error, image: record.name }, 'image left aside');
      this.#cache.delete(record.name);
    }
  }

  /** Follows berthd's events until closed; after a gap in them everything is read anew. */
  async #follow(first: AsyncIterable<string>): Promise<void> {
    const { signal } = this.#stop;
    for (let changes = first; !signal.aborted; changes = this.#core.changes(signal)) {
      try {
        if (changes !== first) await this.#loadAll();
        for await (const name of changes) await this.#look(name);
      } catch (error) {
        if (!signal.aborted) this.#options.log.debug({ err: error }, 'image events interrupted');
      }
      await sleep(RESUBSCRIBE_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Tells credentials apart without keeping them. */
function fingerprint(credentials: PullCredentials | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify(credentials ?? null))
    .digest('hex');
}
