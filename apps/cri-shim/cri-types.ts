/**
 * The CRI messages that berth-cri keeps: what a request carried, free of bytes, so that it survives JSON.
 * 64-bit fields are decimal strings.
 */
import type { ContainerConfig__Output } from '#proto/runtime/v1/ContainerConfig.ts';
import type { PodSandboxConfig__Output } from '#proto/runtime/v1/PodSandboxConfig.ts';

export type { ContainerMetadata__Output as ContainerMetadata } from '#proto/runtime/v1/ContainerMetadata.ts';
export type { LinuxContainerResources__Output as ContainerResources } from '#proto/runtime/v1/LinuxContainerResources.ts';
export type { LinuxContainerSecurityContext__Output as SecurityContext } from '#proto/runtime/v1/LinuxContainerSecurityContext.ts';
export type { Mount__Output as CriMount } from '#proto/runtime/v1/Mount.ts';
export type { NamespaceOption__Output as NamespaceOption } from '#proto/runtime/v1/NamespaceOption.ts';
export type { PodSandboxMetadata__Output as PodMetadata } from '#proto/runtime/v1/PodSandboxMetadata.ts';
export type { SecurityProfile__Output as SecurityProfile } from '#proto/runtime/v1/SecurityProfile.ts';

export type PodConfig = PodSandboxConfig__Output;

export interface EnvironmentVariable {
  readonly key: string;
  readonly value: string;
}

/** A ContainerConfig whose environment is text, as in the OCI spec. */
export type ContainerConfig = Omit<ContainerConfig__Output, 'envs'> & { readonly envs: readonly EnvironmentVariable[] };

/** From the wire's form; bytes that aren't UTF-8 become U+FFFD, because a runtime spec is JSON. */
export function containerConfigFromWire(config: ContainerConfig__Output): ContainerConfig {
  return {
    ...config,
    envs: config.envs.map(({ key, value }) => ({ key, value: Buffer.from(value).toString('utf8') })),
  };
}
