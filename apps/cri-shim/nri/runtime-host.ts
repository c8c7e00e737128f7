import { stopContainer } from '../container-stop.ts';
import type { Runtime } from '../runtime.ts';
import { describeContainer, describePod } from './describe.ts';
import type { NriOut } from './messages.ts';
import type { NriHost } from './nri.ts';
import { mergeResources, updatedResources } from './resources.ts';

/** What plugins see of this runtime and do to it. */
export function nriHost(rt: Runtime): NriHost {
  return {
    snapshot: async () => ({
      pods: rt.sandboxes
        .values()
        .filter(({ listed }) => listed)
        .map(describePod),
      containers: await Promise.all(
        rt.containers.values().map(async (container) => describeContainer(container, await rt.core.spec(container.id))),
      ),
    }),
    update: (update) => updateContainer(rt, update),
    evict: async ({ containerId }) => {
      await stopContainer(rt, rt.containers.get(containerId), 0);
    },
  };
}

/** New limits for a container, in its spec and, while it runs, in its cgroup. */
async function updateContainer(rt: Runtime, { containerId, linux }: NriOut<'ContainerUpdate'>): Promise<void> {
  const container = rt.containers.get(containerId);
  const resources = linux?.resources;
  if (resources == null) return;
  const changed = updatedResources(resources);
  await rt.queue.run(container.id, async () => {
    if (container.state === 'CONTAINER_EXITED') return;
    const spec = await rt.core.spec(container.id);
    if (spec.linux !== undefined) spec.linux.resources = mergeResources(spec.linux.resources ?? {}, changed);
    await rt.core.updateRecord(container.id, { spec });
    if (container.state === 'CONTAINER_RUNNING') await rt.core.updateTask(container.id, changed);
  });
}
