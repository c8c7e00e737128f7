import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Image } from '#proto/runtime/v1/Image.ts';
import type { ImageServiceHandlers } from '#proto/runtime/v1/ImageService.ts';
import type { ImageSpec__Output } from '#proto/runtime/v1/ImageSpec.ts';
import { inMessages } from '../stream-list.ts';
import type { ImageService, ResolvedImage } from './image-service.ts';

/** runtime.v1.ImageService. What isn't here answers UNIMPLEMENTED. */
export function imageService(images: ImageService, log: Logger): Service {
  return implement<ImageServiceHandlers>(
    serviceDefinition('runtime.v1.ImageService'),
    {
      listImages: ({ filter }) => ({ images: images.list(filter?.image?.image).map(toCri) }),
      async *streamImages({ filter }) {
        for (const list of inMessages(images.list(filter?.image?.image))) yield { images: list.map(toCri) };
      },
      imageStatus({ image: spec, verbose }) {
        const image = images.find(nameIn(spec));
        return image === undefined ? {} : { image: toCri(image), info: verbose ? verboseInfo(image) : {} };
      },
      async pullImage({ image, auth }, { signal }) {
        const credentials = auth === null ? {} : { credentials: auth };
        return { imageRef: await images.pull(nameIn(image), { ...credentials, signal }) };
      },
      async removeImage({ image }, { signal }) {
        await images.remove(nameIn(image), { signal });
        return {};
      },
      async imageFsInfo(_, { signal }) {
        const { timestampNs, mountpoint, usedBytes, inodesUsed } = await images.fsInfo(signal);
        const usage = {
          timestamp: String(timestampNs),
          fsId: { mountpoint },
          usedBytes: { value: String(usedBytes) },
          inodesUsed: { value: String(inodesUsed) },
        };
        return { imageFilesystems: [usage], containerFilesystems: [usage] };
      },
    },
    { log },
  );
}

function nameIn(spec: ImageSpec__Output | null): string {
  const name = spec?.image ?? '';
  if (name === '') throw new BerthError('invalid_argument', 'the request names no image');
  return name;
}

function toCri({ id, repoTags, repoDigests, size, uid, username, pinned }: ResolvedImage): Image {
  return {
    id,
    repoTags: [...repoTags],
    repoDigests: [...repoDigests],
    size: String(size),
    ...(uid === undefined ? {} : { uid: { value: String(uid) } }),
    username,
    spec: { image: id },
    pinned,
  };
}

/** As containerd's CRI: tools read the image's configuration from it. */
function verboseInfo({ chainId, config }: ResolvedImage): Record<string, string> {
  return { info: JSON.stringify({ chainID: chainId, imageSpec: config }) };
}
