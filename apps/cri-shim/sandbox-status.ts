import type { PodSandboxStatus } from '#proto/runtime/v1/PodSandboxStatus.ts';
import type { PodSandboxStatusResponse } from '#proto/runtime/v1/PodSandboxStatusResponse.ts';
import { describeResult } from './cni/result.ts';
import type { PodConfig } from './cri-types.ts';
import { protoJson } from './proto-json.ts';
import type { Runtime } from './runtime.ts';
import { sandboxState } from './sandbox-list.ts';
import type { Sandbox } from './store/sandbox.ts';

/** PodSandboxStatus. With `verbose` comes what tools read besides: the runtime spec, the CNI result, pids. */
export async function sandboxStatus(rt: Runtime, id: string, verbose: boolean): Promise<PodSandboxStatusResponse> {
  const sandbox = rt.sandboxes.get(id);
  const info: Record<string, string> = verbose ? { info: JSON.stringify(await details(rt, sandbox)) } : {};
  return { status: describeSandbox(sandbox), info };
}

/** What is known of a pod without asking anybody. */
export function describeSandbox(sandbox: Sandbox): PodSandboxStatus {
  const { metadata, status } = sandbox;
  const { config } = metadata;
  const [ip = '', ...additional] = status.addresses ?? [];
  return {
    id: sandbox.id,
    metadata: config.metadata,
    state: sandboxState(sandbox),
    createdAt: metadata.createdAt,
    network: { ip, additionalIps: additional.map((address) => ({ ip: address })) },
    linux: { namespaces: { options: namespaceOptions(sandbox) } },
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: metadata.runtimeHandler,
  };
}

function namespaceOptions(sandbox: Sandbox) {
  const options = sandbox.metadata.config.linux?.securityContext?.namespaceOptions;
  return {
    network: options?.network ?? ('POD' as const),
    pid: options?.pid ?? ('POD' as const),
    ipc: options?.ipc ?? ('POD' as const),
    targetId: options?.targetId ?? '',
    usernsOptions: options?.usernsOptions ?? null,
  };
}

async function details(rt: Runtime, sandbox: Sandbox): Promise<object> {
  const { metadata, status } = sandbox;
  return {
    pid: sandbox.pid,
    processStatus: sandbox.pid === 0 ? 'deleted' : 'running',
    netNamespaceClosed: status.releasedAt !== undefined,
    image: rt.config.sandboxImage,
    snapshotKey: sandbox.id,
    snapshotter: rt.core.snapshotter,
    runtimeHandler: metadata.runtimeHandler,
    runtimeType: rt.handlers.runtime(metadata.runtimeHandler, 'cgroupfs').name,
    metadata: { ID: sandbox.id, Name: metadata.name, NetNSPath: metadata.netnsPath, IP: status.addresses?.[0] ?? '' },
    config: protoJson(currentConfig(sandbox)),
    cniResult: status.cniResult === undefined ? null : describeResult(status.cniResult),
    runtimeSpec: await rt.core.spec(sandbox.id),
  };
}

/** The pod's configuration with the resources that it has by now. */
function currentConfig({ metadata, status }: Sandbox): PodConfig {
  const { config } = metadata;
  if (config.linux === null) return config;
  const { overhead = config.linux.overhead, resources = config.linux.resources } = status;
  return { ...config, linux: { ...config.linux, overhead, resources } };
}
