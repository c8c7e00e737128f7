import { BerthError } from '#common/errors.ts';
import type { UpdatePodSandboxResourcesRequest__Output } from '#proto/runtime/v1/UpdatePodSandboxResourcesRequest.ts';
import { describePodResources } from './nri/describe.ts';
import type { Runtime } from './runtime.ts';
import { updateSandbox } from './status-update.ts';

/**
 * UpdatePodSandboxResources: takes note of a pod's new resources. The kubelet has changed the pod's cgroup, which is its
 * own, before it calls (CRI api.proto).
 *
 * @throws not_found; failed_precondition when the pod doesn't run; what an NRI plugin objects to.
 */
export async function updateSandboxResources(
  rt: Runtime,
  { podSandboxId, overhead, resources }: UpdatePodSandboxResourcesRequest__Output,
): Promise<void> {
  const sandbox = rt.sandboxes.get(podSandboxId);
  await rt.queue.run(sandbox.id, async () => {
    if (!sandbox.ready) throw new BerthError('failed_precondition', `pod sandbox ${sandbox.id} is not running`);
    await rt.nri.podEvent('UpdatePodSandbox', sandbox, {
      ...(overhead === null ? {} : { overheadLinuxResources: describePodResources(overhead) }),
      ...(resources === null ? {} : { linuxResources: describePodResources(resources) }),
    });
    await updateSandbox(rt, sandbox, {
      ...(overhead === null ? {} : { overhead }),
      ...(resources === null ? {} : { resources }),
    });
    await rt.nri.told('PostUpdatePodSandbox', rt.nri.podEvent('PostUpdatePodSandbox', sandbox));
  });
}
