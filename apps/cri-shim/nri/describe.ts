import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { ContainerResources } from '../cri-types.ts';
import { ociResources } from '../spec/resources.ts';
import type { Container } from '../store/container.ts';
import type { ContainerMetadata } from '../store/records.ts';
import type { Sandbox } from '../store/sandbox.ts';
import type { NriIn } from './messages.ts';
import { describeResources } from './resources.ts';

/** Limits are described as the pod asked for them, whatever the host has. */
const anyHost = { swap: true, hugetlb: true, unified: true };

export function describePod(sandbox: Sandbox): NriIn<'PodSandbox'> {
  const { config, runtimeHandler } = sandbox.metadata;
  const { cgroupParent = '' } = config.linux ?? {};
  const { overhead = config.linux?.overhead ?? null, resources = config.linux?.resources ?? null } = sandbox.status;
  return {
    id: sandbox.id,
    name: config.metadata?.name ?? '',
    uid: config.metadata?.uid ?? '',
    namespace: config.metadata?.namespace ?? '',
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler,
    pid: sandbox.pid,
    ips: [...(sandbox.status.addresses ?? [])],
    linux: {
      cgroupParent,
      ...(overhead === null ? {} : { podOverhead: describePodResources(overhead) }),
      ...(resources === null ? {} : { podResources: describePodResources(resources) }),
      namespaces: sandbox.metadata.netnsPath === '' ? [] : [{ type: 'network', path: sandbox.metadata.netnsPath }],
    },
  };
}

export function describePodResources(resources: ContainerResources): NriIn<'LinuxResources'> {
  return describeResources(ociResources(resources, anyHost));
}

/** A container that is being made: all that is known is what it will be. */
export function describeNewContainer(metadata: ContainerMetadata, spec: RuntimeSpec): NriIn<'Container'> {
  const { process, linux, hooks, mounts = [] } = spec;
  const { config } = metadata;
  return {
    id: metadata.id,
    podSandboxId: metadata.sandboxId,
    name: config.metadata?.name ?? '',
    state: 'CONTAINER_CREATED',
    labels: config.labels,
    annotations: spec.annotations ?? config.annotations,
    args: process?.args ?? [],
    env: process?.env ?? [],
    mounts: mounts.map(({ destination, type = '', source = '', options = [] }) => ({
      destination,
      type,
      source,
      options,
    })),
    hooks: Object.fromEntries(
      Object.entries(hooks ?? {}).map(([stage, list]) => [
        stage,
        list.map(({ timeout, ...hook }) => ({
          ...hook,
          ...(timeout === undefined ? {} : { timeout: { value: timeout } }),
        })),
      ]),
    ),
    rlimits: process?.rlimits ?? [],
    cdiDevices: config.CDIDevices,
    createdAt: metadata.createdAt,
    image: { name: metadata.imageName, digest: metadata.imageRef, configDigest: metadata.imageId },
    ...(process === undefined ? {} : { user: { ...process.user, additionalGids: process.user.additionalGids ?? [] } }),
    linux: {
      namespaces: (linux?.namespaces ?? []).map(({ type, path = '' }) => ({ type, path })),
      devices: (linux?.devices ?? []).map(({ path, type, major = 0, minor = 0, fileMode, uid, gid }) => ({
        path,
        type,
        major,
        minor,
        ...(fileMode === undefined ? {} : { fileMode: { value: fileMode } }),
        ...(uid === undefined ? {} : { uid: { value: uid } }),
        ...(gid === undefined ? {} : { gid: { value: gid } }),
      })),
      resources: describeResources(linux?.resources ?? {}),
      ...(process?.oomScoreAdj === undefined ? {} : { oomScoreAdj: { value: process.oomScoreAdj } }),
      cgroupsPath: linux?.cgroupsPath ?? '',
      sysctl: linux?.sysctl ?? {},
    },
  };
}

const states = {
  CONTAINER_CREATED: 'CONTAINER_CREATED',
  CONTAINER_RUNNING: 'CONTAINER_RUNNING',
  CONTAINER_EXITED: 'CONTAINER_STOPPED',
  CONTAINER_UNKNOWN: 'CONTAINER_UNKNOWN',
} as const;

export function describeContainer(container: Container, spec: RuntimeSpec): NriIn<'Container'> {
  const { status, metadata } = container;
  return {
    ...describeNewContainer(metadata, spec),
    state: states[container.state],
    pid: container.pid,
    startedAt: status.startedAt ?? '0',
    finishedAt: status.finishedAt ?? '0',
    exitCode: status.exitCode ?? 0,
    statusReason: status.reason ?? '',
    statusMessage: status.message ?? '',
  };
}
