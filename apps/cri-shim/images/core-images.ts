import { BerthError, isCode } from '#common/errors.ts';
import type { Channel, Client } from '#common/grpc/client.ts';
import type { Descriptor } from '#common/oci/image.ts';
import { decode } from '#common/wire/codec.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { EventsDefinition, EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import type { Image__Output } from '#proto/containerd/services/images/v1/Image.ts';
import type { ImagesDefinition, ImagesHandlers } from '#proto/containerd/services/images/v1/Images.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import { restartPatienceMs } from '../core-client/restart-patience.ts';

/** One name in berthd's image store, and what it stands for. */
export interface ImageRecord {
  readonly name: string;
  /** Manifest or index. */
  readonly target: Descriptor;
  readonly labels: Readonly<Record<string, string>>;
}

/** Manifests and configurations are small; whatever claims to be larger isn't one. */
const MAX_DOCUMENT = 8 * 1024 * 1024;

/** berthd's images and their documents. */
export class CoreImages {
  readonly #channel: Channel;
  readonly #images: Client<ImagesHandlers, ImagesDefinition>;
  readonly #content: Client<ContentHandlers, ContentDefinition>;
  readonly #events: Client<EventsHandlers, EventsDefinition>;
  readonly #namespace: string;

  constructor(channel: Channel, namespace: string) {
    this.#channel = channel;
    this.#namespace = namespace;
    this.#images = channel.client('containerd.services.images.v1.Images');
    this.#content = channel.client('containerd.services.content.v1.Content');
    this.#events = channel.client('containerd.services.events.v1.Events');
  }

  /** Waits a little for a berthd that is being restarted. @throws unavailable when it stays away */
  async waitReady(): Promise<void> {
    await this.#channel.waitReady(restartPatienceMs);
  }

  async list(): Promise<ImageRecord[]> {
    await this.waitReady();
    const { images } = await this.#images.list({ filters: [] });
    return images.map(toRecord);
  }

  /** undefined: there is no image of that name. */
  async get(name: string): Promise<ImageRecord | undefined> {
    try {
      const { image } = await this.#images.get({ name });
      return image === null ? undefined : toRecord(image);
    } catch (error) {
      if (isCode(error, 'not_found')) return undefined;
      throw error;
    }
  }

  /** Makes `name` stand for `target`, whatever it stood for, and adds labels. */
  async put({ name, target, labels }: ImageRecord): Promise<void> {
    const image = { name, labels: { ...labels }, target: { ...target, size: String(target.size) } };
    try {
      await this.#images.create({ image });
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
      const paths = ['target', ...Object.keys(labels).map((key) => `labels.${key}`)];
      await this.#images.update({ image, updateMask: { paths } });
    }
  }

  /** Removes a name; with `collect`, waits until what nothing else needs is gone. An unknown name is no error. */
  async delete(name: string, collect: boolean, signal?: AbortSignal): Promise<void> {
    try {
      await this.#images.delete({ name, sync: collect }, { signal });
    } catch (error) {
      if (!isCode(error, 'not_found')) throw error;
    }
  }

  /**
   * Reads a JSON document.
   *
   * @throws `not_found` when it isn't in the store, `invalid_argument` when it is no such document.
   */
  async document<T>({ digest, size }: Descriptor): Promise<T> {
    if (size > MAX_DOCUMENT) throw new BerthError('invalid_argument', `${digest} is too large: ${size} bytes`);
    const parts: Buffer[] = [];
    let length = 0;
    for await (const { data } of this.#content.read({ digest, offset: '0', size: '0' })) {
      parts.push(data);
      length += data.length;
      if (length > MAX_DOCUMENT) throw new BerthError('invalid_argument', `${digest} is too large`);
    }
    try {
      return JSON.parse(Buffer.concat(parts).toString()) as T;
    } catch (cause) {
      throw new BerthError('invalid_argument', `${digest} is not JSON`, { cause });
    }
  }

  /** Names of images that change from this call on, until berthd goes away or `signal` fires. */
  changes(signal: AbortSignal): AsyncIterable<string> {
    const filters = [`namespace==${this.#namespace},topic~="^/images/"`];
    return changedNames(this.#events.subscribe({ filters }, { signal }));
  }
}

async function* changedNames(events: AsyncIterable<Envelope__Output>): AsyncIterable<string> {
  for await (const { topic, event } of events) {
    if (event !== null) yield changedName(topic, event.value);
  }
}

function changedName(topic: string, event: Buffer): string {
  if (topic.endsWith('/create')) return decode('containerd.services.images.v1.ImageCreate', event).name;
  if (topic.endsWith('/update')) return decode('containerd.services.images.v1.ImageUpdate', event).name;
  return decode('containerd.services.images.v1.ImageDelete', event).name;
}

function toRecord({ name, target, labels }: Image__Output): ImageRecord {
  if (target === null) throw new BerthError('data_loss', `image ${name} stands for nothing`);
  return { name, labels, target: { mediaType: target.mediaType, digest: target.digest, size: Number(target.size) } };
}
