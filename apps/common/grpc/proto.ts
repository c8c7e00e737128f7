import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { BerthError } from '../errors.ts';
import { protoOptions, protoRoot } from '../proto/options.ts';

const containerd = 'github.com/containerd/containerd/api/services';
const cri = 'k8s.io/cri-api/pkg/apis/runtime/v1/api.proto';

/** Which file of proto/ defines each gRPC service. */
const serviceFiles: Readonly<Record<string, string>> = {
  'grpc.health.v1.Health': 'grpc/health/v1/health.proto',
  'runtime.v1.RuntimeService': cri,
  'runtime.v1.ImageService': cri,
  'containerd.services.containers.v1.Containers': `${containerd}/containers/v1/containers.proto`,
  'containerd.services.content.v1.Content': `${containerd}/content/v1/content.proto`,
  'containerd.services.diff.v1.Diff': `${containerd}/diff/v1/diff.proto`,
  'containerd.services.events.v1.Events': `${containerd}/events/v1/events.proto`,
  'containerd.services.images.v1.Images': `${containerd}/images/v1/images.proto`,
  'containerd.services.introspection.v1.Introspection': `${containerd}/introspection/v1/introspection.proto`,
  'containerd.services.leases.v1.Leases': `${containerd}/leases/v1/leases.proto`,
  'containerd.services.mounts.v1.Mounts': `${containerd}/mounts/v1/mounts.proto`,
  'containerd.services.namespaces.v1.Namespaces': `${containerd}/namespaces/v1/namespace.proto`,
  'containerd.services.sandbox.v1.Store': `${containerd}/sandbox/v1/sandbox.proto`,
  'containerd.services.sandbox.v1.Controller': `${containerd}/sandbox/v1/sandbox.proto`,
  'containerd.services.snapshots.v1.Snapshots': `${containerd}/snapshots/v1/snapshots.proto`,
  'containerd.services.streaming.v1.Streaming': `${containerd}/streaming/v1/streaming.proto`,
  'containerd.services.tasks.v1.Tasks': `${containerd}/tasks/v1/tasks.proto`,
  'containerd.services.transfer.v1.Transfer': `${containerd}/transfer/v1/transfer.proto`,
  'containerd.services.version.v1.Version': `${containerd}/version/v1/version.proto`,
};

const loaded = new Map<string, PackageDefinition>();

/**
 * The package definition of some .proto files, named relative to proto/ (or absolute); each set is parsed once per
 * process. Values have the shapes that `npm run gen` writes types for.
 */
export function loadProto(...files: string[]): PackageDefinition {
  const key = files.join('\n');
  const known = loaded.get(key);
  if (known !== undefined) return known;
  const definition = loadSync(files, {
    ...protoOptions,
    includeDirs: [protoRoot],
  });
  loaded.set(key, definition);
  return definition;
}

/**
 * The definition of a service by its full name, e.g. `containerd.services.tasks.v1.Tasks`.
 * @throws BerthError `internal` for a name that proto/ doesn't hold
 */
export function serviceDefinition(name: string): ServiceDefinition {
  const file = serviceFiles[name];
  const definition = file === undefined ? undefined : loadProto(file)[name];
  if (definition === undefined || 'format' in definition) {
    throw new BerthError('internal', `no gRPC service "${name}" is defined in proto/`);
  }
  return definition;
}
