import { removeImageVolumes } from './container-image-volumes.ts';
import { stopContainer } from './container-stop.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';
import { discardTask } from './task-discard.ts';

/** RemoveContainer: ends it if it runs. An unknown container is no error. The log file stays, it is the kubelet's. */
export async function removeContainer(rt: Runtime, id: string): Promise<void> {
  const container = rt.containers.find(id);
  if (container !== undefined) await removeKnownContainer(rt, container);
}

/** Does nothing for what is done already, so that a call that failed half-way can be made again. */
export async function removeKnownContainer(rt: Runtime, container: Container): Promise<void> {
  const { id } = container;
  await stopContainer(rt, container, 0);
  await rt.queue.run(id, async () => {
    if (!rt.containers.has(id)) return;
    const sandbox = rt.sandboxes.find(container.metadata.sandboxId);
    const spec = () => rt.core.spec(id);
    await rt.nri.told('RemoveContainer', rt.nri.containerEvent('RemoveContainer', sandbox, container, spec));
    if (container.hasTask) await discardTask(rt.core, id);
    await rt.logs.detach(id);
    await rt.stdio.remove(id);
    await removeImageVolumes(rt, id, container.metadata.config.mounts);
    await rt.declaredVolumes.remove(id);
    await rt.core.removeSnapshot(id);
    await rt.core.deleteRecord(id);
    rt.containers.delete(id);
    rt.containerNames.release(container.metadata.name, id);
    rt.podEvents.container('CONTAINER_DELETED_EVENT', container);
  });
}
