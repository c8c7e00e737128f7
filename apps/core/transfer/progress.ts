import { setTimeout as sleep } from 'node:timers/promises';
import { encode } from '#common/wire/codec.ts';
import type { Descriptor } from '../registry/document.ts';
import { isConfig, isIndex, isLayer, isManifest } from '../registry/media-types.ts';
import type { ClientStream } from '../streaming/stream.ts';
import { Rate } from './rate.ts';

const PROGRESS = 'containerd.types.transfer.Progress';
/** Between two messages about the same object. */
const INTERVAL_MS = 100;
/** Messages that wait for a slow client; beyond it, intermediate figures are left out. */
const MAX_WAITING = 64;
/** How long a client that doesn't read can hold up the answer to its transfer. */
const END_GRACE_MS = 2000;

/** Annotations of a progress message's descriptor: bytes per second, and the whole seconds that are left. */
const RATE = 'io.berth.progress.rate';
const ETA = 'io.berth.progress.eta';

/** What a blob of a transfer is at. */
export interface LayerProgress {
  readonly digest: string;
  readonly stage: string;
  /** Bytes of the blob that the stage is done with, and all of them. */
  readonly done: number;
  readonly total: number;
  /** Bytes per second; 0 when unknown. */
  readonly rate: number;
}

/** Tells a client how its transfer gets on. The events are those of containerd's transfer service, which `ctr` draws. */
export class Progress {
  readonly #stream: ClientStream | undefined;
  readonly #lastSent = new Map<string, number>();
  /** Of the blobs that something happens to, by key. */
  readonly #moving = new Map<string, LayerProgress & { readonly speed: Rate }>();
  #root = '';
  #waiting = 0;
  #tail: Promise<void> = Promise.resolve();

  /** Without a stream, nothing is told. */
  constructor(stream?: ClientStream) {
    this.#stream = stream;
  }

  /** The name of the image, once it is known. */
  get image(): string {
    return this.#root;
  }

  /** The blobs that something happens to now. */
  layers(): LayerProgress[] {
    return [...this.#moving.values()].map(({ speed: _, ...layer }) => layer);
  }

  /** Names the image: parent of all that has no other. */
  begin(event: 'fetching image content' | 'pushing content', name: string, descriptor: Descriptor): void {
    this.#root = name;
    this.#send(event, name, [], 0, descriptor.size, descriptor);
  }

  /** A step of the whole transfer, in words. */
  step(event: string): void {
    this.#send(event, '', [], 0, 0);
  }

  waiting(descriptor: Descriptor, parent: Descriptor | undefined): void {
    const parents = [parent === undefined ? this.#root : refKey(parent)];
    this.#send('waiting', refKey(descriptor), parents, 0, descriptor.size, descriptor);
  }

  downloading(descriptor: Descriptor, offset: number): void {
    this.#figure('downloading', descriptor, offset);
  }

  uploading(descriptor: Descriptor, offset: number): void {
    this.#figure('uploading', descriptor, offset);
  }

  extracting(descriptor: Descriptor, offset: number): void {
    this.#figure('extracting', descriptor, offset);
  }

  /** The last word on a stage: `complete`, `already exists` or `extracted`. */
  finished(event: 'complete' | 'already exists' | 'extracted', descriptor: Descriptor): void {
    this.#moving.delete(refKey(descriptor));
    this.#send(event, refKey(descriptor), [], descriptor.size, descriptor.size, descriptor);
  }

  /** What became of the image by its name. */
  named(event: 'saved' | 'pushed content', name: string, descriptor: Descriptor): void {
    this.#send(event, name, [], 0, 0, descriptor);
  }

  /** Ends the stream once the client has everything, has gone, or doesn't read what there is. */
  async end(): Promise<void> {
    const timeout = new AbortController();
    await Promise.race([this.#tail, sleep(END_GRACE_MS, undefined, { signal: timeout.signal }).catch(() => undefined)]);
    timeout.abort();
    this.#stream?.close();
  }

  #figure(event: string, descriptor: Descriptor, offset: number): void {
    const key = refKey(descriptor);
    const now = Date.now();
    if (this.#waiting > MAX_WAITING || now - (this.#lastSent.get(key) ?? 0) < INTERVAL_MS) return;
    this.#lastSent.set(key, now);
    const { digest, size: total } = descriptor;
    const known = this.#moving.get(key);
    const speed = known?.stage === event ? known.speed : new Rate();
    const rate = Math.round(speed.add(offset));
    this.#moving.set(key, { digest, stage: event, done: offset, total, rate, speed });
    const annotations: Record<string, string> = { [RATE]: String(rate) };
    if (rate > 0) annotations[ETA] = String(Math.ceil((total - offset) / rate));
    this.#send(event, key, [], offset, total, { ...descriptor, annotations });
  }

  #send(
    event: string,
    name: string,
    parents: string[],
    progress: number,
    total: number,
    descriptor?: Descriptor,
  ): void {
    if (this.#stream === undefined) return;
    const desc =
      descriptor === undefined
        ? null
        : {
            mediaType: descriptor.mediaType,
            digest: descriptor.digest,
            size: descriptor.size,
            annotations: { ...descriptor.annotations },
          };
    const value = Buffer.from(encode(PROGRESS, { event, name, parents, progress, total, desc }));
    this.#waiting++;
    // A client that has gone takes no messages; its transfer is ended by its own call.
    const sent = this.#stream.send({ type_url: PROGRESS, value }).catch(() => undefined);
    this.#tail = Promise.all([this.#tail, sent]).then(() => void this.#waiting--);
  }
}

/** The name under which a download is known to clients, also as the ref of its write. */
export function refKey({ mediaType, digest }: Descriptor): string {
  if (isManifest(mediaType)) return `manifest-${digest}`;
  if (isIndex(mediaType)) return `index-${digest}`;
  if (isLayer(mediaType)) return `layer-${digest}`;
  return isConfig(mediaType) ? `config-${digest}` : `unknown-${digest}`;
}
