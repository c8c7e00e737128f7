import { capabilityArgs } from './cni/capability-args.ts';
import type { Attachment } from './cni/network.ts';
import type { SandboxMetadata } from './store/records.ts';

/** What plugins are told about a pod; undefined for one on the host's network. */
export function podAttachment(sandbox: SandboxMetadata): Attachment | undefined {
  const { id, config, netnsPath, runtimeHandler } = sandbox;
  if (netnsPath === '') return undefined;
  return {
    containerId: id,
    handler: runtimeHandler,
    netns: netnsPath,
    args: [
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAMESPACE', config.metadata?.namespace ?? ''],
      ['K8S_POD_NAME', config.metadata?.name ?? ''],
      ['K8S_POD_INFRA_CONTAINER_ID', id],
      ['K8S_POD_UID', config.metadata?.uid ?? ''],
    ],
    capabilityArgs: capabilityArgs(config),
  };
}
