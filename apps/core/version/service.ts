import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { containerdApiVersion, version } from '#common/version.ts';
import type { VersionHandlers } from '#proto/containerd/services/version/v1/Version.ts';

/**
 * `containerd.services.version.v1.Version`. The version is that of the API spoken, because clients choose features by
 * it; the revision says who speaks.
 */
export function versionService(log: Logger): Service {
  return implement<VersionHandlers>(
    serviceDefinition('containerd.services.version.v1.Version'),
    {
      version() {
        return { version: `v${containerdApiVersion}`, revision: `berth-${version}` };
      },
    },
    { log },
  );
}
