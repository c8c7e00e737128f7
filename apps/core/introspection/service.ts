import { statSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';
import { parseFilters } from '#common/filters/filter.ts';
import { objectAdaptor } from '#common/filters/object-adaptor.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Any } from '#common/typeurl.ts';
import type { IntrospectionHandlers } from '#proto/containerd/services/introspection/v1/Introspection.ts';
import type { Plugin } from '#proto/containerd/services/introspection/v1/Plugin.ts';
import { runtimePlugin } from './plugins.ts';

export interface IntrospectionParts {
  readonly plugins: readonly Plugin[];
  /** Answers what a client asks of the runtimes' plugin. @throws unimplemented for a request it doesn't know. */
  readonly runtimeInfo: (request: Any, signal: AbortSignal) => Promise<{ type_url: string; value: Buffer }>;
  /** Names this root for good. */
  readonly uuid: string;
  readonly log: Logger;
}

/** `containerd.services.introspection.v1.Introspection`. */
export function introspectionService({ plugins, runtimeInfo, uuid, log }: IntrospectionParts): Service {
  return implement<IntrospectionHandlers>(
    serviceDefinition('containerd.services.introspection.v1.Introspection'),
    {
      plugins({ filters }) {
        const matches = parseFilters(filters);
        return { plugins: plugins.filter(({ type, id }) => matches(objectAdaptor({ type, id }))) };
      },
      server() {
        // The inode of the pid namespace tells a client whether the pids it is given are pids of its own.
        return { uuid, pid: process.pid, pidns: statSync('/proc/self/ns/pid').ino };
      },
      async pluginInfo({ type, id, options }, { signal }) {
        const plugin = plugins.find((candidate) => candidate.type === type && candidate.id === id);
        if (!plugin) throw new BerthError('not_found', `plugin ${type}.${id} not found`);
        if (!options) return { plugin };
        if (type === runtimePlugin.type && id === runtimePlugin.id) {
          return { plugin, extra: await runtimeInfo(options as Any, signal) };
        }
        throw new BerthError('unimplemented', `plugin ${type}.${id} gives no further information`);
      },
    },
    { log },
  );
}
