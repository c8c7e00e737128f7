import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { Info as WireInfo } from '#proto/containerd/services/content/v1/Info.ts';
import type { Status as WireStatus } from '#proto/containerd/services/content/v1/Status.ts';
import { ShortLivedBuffers } from '../diff/short-lived-buffers.ts';
import { readContent } from './content-read.ts';
import { writeContent } from './content-write.ts';
import { PieceBuffers } from './piece-buffers.ts';
import type { ContentInfo, ContentStore, IngestStatus } from './store.ts';

/** Infos per message of a list, as containerd sends them. */
const infosPerMessage = 100;

/** `containerd.services.content.v1.Content`. */
export function contentService(content: ContentStore, log: Logger): Service {
  const pieces = new PieceBuffers();
  const written = new ShortLivedBuffers();
  return implement<ContentHandlers>(
    serviceDefinition('containerd.services.content.v1.Content'),
    {
      info({ digest }, { namespace }) {
        return { info: infoToWire(content.info(namespace, digest)) };
      },
      update({ info, updateMask }, { namespace }) {
        if (!info) throw new BerthError('invalid_argument', 'content info is missing from the request');
        return { info: infoToWire(content.update(namespace, info.digest, info.labels, updateMask?.paths)) };
      },
      async *list({ filters }, { namespace }) {
        const infos = content.list(namespace, filters).map(infoToWire);
        for (let at = 0; at < infos.length; at += infosPerMessage) {
          yield { info: infos.slice(at, at + infosPerMessage) };
        }
      },
      delete({ digest }, { namespace }) {
        content.delete(namespace, digest);
        return {};
      },
      read(request, context) {
        return readContent(content, request, context, pieces);
      },
      async status({ ref }, { namespace }) {
        return { status: statusToWire(await content.status(namespace, ref)) };
      },
      async listStatuses({ filters }, { namespace }) {
        const statuses = await content.listStatuses(namespace, filters);
        return { statuses: statuses.map(statusToWire) };
      },
      write(requests, context) {
        return writeContent(content, requests, context, written);
      },
      async abort({ ref }, { namespace }) {
        await content.abort(namespace, ref);
        return {};
      },
    },
    { log },
  );
}

function infoToWire({ digest, size, createdAt, updatedAt, labels }: ContentInfo): WireInfo {
  return {
    digest,
    size,
    createdAt: timestampFromInstant(createdAt),
    updatedAt: timestampFromInstant(updatedAt),
    labels,
  };
}

function statusToWire({ ref, startedAt, updatedAt, offset, total, expected = '' }: IngestStatus): WireStatus {
  return {
    ref,
    offset,
    total,
    expected,
    startedAt: timestampFromInstant(startedAt),
    updatedAt: timestampFromInstant(updatedAt),
  };
}
