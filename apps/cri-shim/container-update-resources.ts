import { BerthError } from '#common/errors.ts';
import type { UpdateContainerResourcesRequest__Output } from '#proto/runtime/v1/UpdateContainerResourcesRequest.ts';
import type { ContainerResources } from './cri-types.ts';
import { describeResources, mergeResources, updatedResources } from './nri/resources.ts';
import type { Runtime } from './runtime.ts';
import { ociResources } from './spec/resources.ts';
import { updateContainer } from './status-update.ts';
import type { Container } from './store/container.ts';

/** UpdateContainerResources: fields that are zero stay as they are. The spec changes too, for a container not started. */
export async function updateContainerResources(
  rt: Runtime,
  request: UpdateContainerResourcesRequest__Output,
): Promise<void> {
  const container = rt.containers.get(request.containerId);
  const wanted = request.linux;
  if (wanted === null) return;
  await rt.queue.run(container.id, () => update(rt, container, wanted));
}

async function update(rt: Runtime, container: Container, wanted: ContainerResources): Promise<void> {
  if (container.state === 'CONTAINER_EXITED') {
    throw new BerthError('failed_precondition', `container ${container.id} has exited`);
  }
  const held = container.status.resources ?? container.metadata.config.linux?.resources ?? undefined;
  const resources = held === undefined ? wanted : merge(held, wanted);
  const asked = ociResources(resources, rt.host.controllers);
  const spec = await rt.core.spec(container.id);
  const sandbox = rt.sandboxes.find(container.metadata.sandboxId);
  const own = await rt.nri.updateContainer(sandbox, container, spec, describeResources(asked));
  const changed = own.reduce((held, more) => mergeResources(held, updatedResources(more)), asked);
  if (spec.linux !== undefined) spec.linux.resources = { ...spec.linux.resources, ...changed };
  await rt.core.updateRecord(container.id, { spec });
  if (container.state === 'CONTAINER_RUNNING') await rt.core.updateTask(container.id, changed);
  await updateContainer(rt, container, { resources });
  await rt.nri.told(
    'PostUpdateContainer',
    rt.nri.containerEvent('PostUpdateContainer', sandbox, container, async () => spec),
  );
}

function merge(held: ContainerResources, wanted: ContainerResources): ContainerResources {
  const given = Object.entries(wanted).filter(([field, value]) => {
    if (typeof value === 'object') return Object.keys(value).length > 0;
    // Of numbers 0 is none; of a list of processors it is the first.
    return value !== '' && (value !== '0' || field.startsWith('cpuset'));
  });
  return { ...held, ...Object.fromEntries(given) };
}
