import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { mediaTypes } from '#common/oci/image.ts';
import { timestampToNs } from '#common/timestamp.ts';
import type { DiffHandlers } from '#proto/containerd/services/diff/v1/Diff.ts';
import type { ContentStore } from '../content/store.ts';
import type { LayerApplier } from './apply.ts';
import type { LayerComparer } from './compare.ts';

export interface DiffServiceParts {
  readonly content: ContentStore;
  readonly applier: LayerApplier;
  readonly comparer: LayerComparer;
  readonly log: Logger;
}

/** `containerd.services.diff.v1.Diff`, for clients that unpack images themselves, and that make images of containers. */
export function diffService({ content, applier, comparer, log }: DiffServiceParts): Service {
  return implement<DiffHandlers>(
    serviceDefinition('containerd.services.diff.v1.Diff'),
    {
      async apply({ diff, mounts }, { namespace, signal }) {
        if (!diff) throw new BerthError('invalid_argument', 'the layer to apply is missing from the request');
        content.info(namespace, diff.digest);
        const request = { blobPath: content.pathOf(diff.digest), mediaType: diff.mediaType, mounts, signal };
        const { diffId, size } = await applier.apply(request);
        return { applied: { mediaType: mediaTypes.ociLayer, digest: diffId, size } };
      },
      async diff({ sourceDateEpoch, ...request }, { namespace: ns, lease, signal }) {
        const notAfter = sourceDateEpoch === null ? undefined : timestampToNs(sourceDateEpoch);
        return { diff: await comparer.compare({ ...request, ns, lease, signal, notAfter }) };
      },
    },
    { log },
  );
}
