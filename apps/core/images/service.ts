import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { Image__Output, Image as WireImage } from '#proto/containerd/services/images/v1/Image.ts';
import type { ImagesHandlers } from '#proto/containerd/services/images/v1/Images.ts';
import type { Database } from '../metadata/database.ts';
import type { Image, ImageInput, ImageStore } from './store.ts';

export interface ImagesServiceParts {
  readonly images: ImageStore;
  readonly db: Database;
  /** Collects garbage now, for a delete that asks to wait for it. */
  readonly collect: () => Promise<unknown>;
  readonly log: Logger;
}

/** `containerd.services.images.v1.Images`. */
export function imagesService({ images, db, collect, log }: ImagesServiceParts): Service {
  return implement<ImagesHandlers>(
    serviceDefinition('containerd.services.images.v1.Images'),
    {
      get({ name }, { namespace }) {
        return { image: toWire(images.get(namespace, name)) };
      },
      list({ filters }, { namespace }) {
        return { images: images.list(namespace, filters).map(toWire) };
      },
      async create({ image }, { namespace, lease }) {
        const created = images.create(namespace, fromWire(image), lease);
        await db.durable();
        return { image: toWire(created) };
      },
      async update({ image, updateMask }, { namespace }) {
        const updated = images.update(namespace, fromWire(image), updateMask?.paths);
        await db.durable();
        return { image: toWire(updated) };
      },
      async delete({ name, sync, target }, { namespace }) {
        images.delete(namespace, name, target?.digest || undefined);
        if (sync) await collect();
        return {};
      },
    },
    { log },
  );
}

function toWire({ name, target, labels, createdAt, updatedAt }: Image): WireImage {
  return {
    name,
    labels,
    target: { ...target, annotations: { ...target.annotations } },
    createdAt: timestampFromInstant(createdAt),
    updatedAt: timestampFromInstant(updatedAt),
  };
}

function fromWire(image: Image__Output | null): ImageInput {
  if (!image) throw new BerthError('invalid_argument', 'image is missing from the request');
  const { name, target, labels } = image;
  const { mediaType = '', digest = '', size = '0', annotations = {} } = target ?? {};
  return { name, labels, target: { mediaType, digest, size: Number(size), annotations } };
}
