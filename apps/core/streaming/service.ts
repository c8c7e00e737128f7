import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { type Any, sameType } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { StreamingHandlers } from '#proto/containerd/services/streaming/v1/Streaming.ts';
import { CallStream } from './call-stream.ts';
import type { StreamManager } from './stream-manager.ts';

const INIT = 'containerd.services.streaming.v1.StreamInit';

/** `containerd.services.streaming.v1.Streaming`: a client opens a stream here and names it in another call. */
export function streamingService(streams: StreamManager, log: Logger): Service {
  return implement<StreamingHandlers>(
    serviceDefinition('containerd.services.streaming.v1.Streaming'),
    {
      async *stream(requests, { namespace, signal }) {
        const incoming = requests[Symbol.asyncIterator]() as AsyncIterator<Any>;
        const first = await incoming.next();
        if (first.done || !sameType(first.value.type_url, INIT)) {
          throw new BerthError('invalid_argument', `a stream begins with a ${INIT}`);
        }
        const stream = new CallStream(incoming, signal);
        using _ = streams.register(namespace, decode(INIT, first.value.value).id, stream);
        // An empty answer says that the id can be used now.
        yield { type_url: 'google.protobuf.Empty', value: Buffer.alloc(0) };
        yield* stream.outgoing() as AsyncIterable<{ type_url: string; value: Buffer }>;
      },
    },
    { log },
  );
}
