import type { ContainerStatus as CriStatus } from '#proto/runtime/v1/ContainerStatus.ts';
import type { ContainerStatusResponse } from '#proto/runtime/v1/ContainerStatusResponse.ts';
import { protoJson } from './proto-json.ts';
import type { Runtime } from './runtime.ts';
import { criSignal } from './spec/stop-signal.ts';
import type { Container } from './store/container.ts';

/** ContainerStatus. With `verbose` comes what tools read besides: the runtime spec, pids, names in the core. */
export async function containerStatus(rt: Runtime, id: string, verbose: boolean): Promise<ContainerStatusResponse> {
  const container = rt.containers.get(id);
  return {
    status: describeContainer(container),
    info: verbose ? { info: JSON.stringify(await details(rt, container)) } : {},
  };
}

/** What is known of a container without asking anybody. */
export function describeContainer(container: Container): CriStatus {
  const { metadata, status } = container;
  const { config } = metadata;
  const resources = status.resources ?? config.linux?.resources ?? null;
  return {
    id: container.id,
    metadata: config.metadata,
    state: container.state,
    createdAt: metadata.createdAt,
    startedAt: status.startedAt ?? '0',
    finishedAt: status.finishedAt ?? '0',
    exitCode: status.exitCode ?? 0,
    image: { ...config.image, image: metadata.imageName, userSpecifiedImage: config.image?.image ?? '' },
    imageRef: metadata.imageRef,
    imageId: metadata.imageId,
    reason: reason(container),
    message: status.message ?? '',
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts,
    logPath: metadata.logPath,
    resources: resources === null ? null : { linux: resources },
    user: { linux: { ...metadata.user, supplementalGroups: [...metadata.user.supplementalGroups] } },
    stopSignal: criSignal(metadata.stopSignal),
  };
}

/** The words that the kubelet shows: it makes its own of an empty one. */
function reason({ status }: Container): string {
  if (status.reason !== undefined) return status.reason;
  if (status.finishedAt === undefined) return '';
  if (status.oomKilled) return 'OOMKilled';
  return status.exitCode === 0 ? 'Completed' : 'Error';
}

async function details(rt: Runtime, container: Container): Promise<object> {
  const { metadata } = container;
  const sandbox = rt.sandboxes.find(metadata.sandboxId);
  return {
    sandboxID: metadata.sandboxId,
    pid: container.pid,
    removing: false,
    snapshotKey: container.id,
    snapshotter: rt.core.snapshotter,
    runtimeType: rt.handlers.runtime(sandbox?.metadata.runtimeHandler ?? '', 'cgroupfs').name,
    config: protoJson(metadata.config),
    runtimeSpec: await rt.core.spec(container.id),
  };
}
