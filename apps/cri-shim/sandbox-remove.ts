import { removeKnownContainer } from './container-remove.ts';
import type { Runtime } from './runtime.ts';
import { stopKnownSandbox } from './sandbox-stop.ts';
import type { Sandbox } from './store/sandbox.ts';
import { freeSandboxTask } from './task-exit.ts';

/** RemovePodSandbox: stops the pod if need be and removes it with all its containers. An unknown pod is no error. */
export async function removeSandbox(rt: Runtime, id: string): Promise<void> {
  const sandbox = rt.sandboxes.find(id);
  if (sandbox === undefined) return;
  await stopKnownSandbox(rt, sandbox);
  const containers = rt.containers.values().filter(({ metadata }) => metadata.sandboxId === sandbox.id);
  await Promise.all(containers.map((container) => removeKnownContainer(rt, container)));
  await rt.queue.run(sandbox.id, () => forget(rt, sandbox));
}

/** Removes what is left of a stopped pod; its record goes last. */
async function forget(rt: Runtime, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  if (!rt.sandboxes.has(id)) return;
  await freeSandboxTask(rt, sandbox);
  await rt.nri.told('RemovePodSandbox', rt.nri.podEvent('RemovePodSandbox', sandbox));
  await rt.core.removeSnapshot(id);
  await rt.files.remove(id);
  await rt.core.deleteRecord(id);
  rt.sandboxes.delete(id);
  rt.sandboxNames.release(sandbox.metadata.name, id);
  rt.podEvents.sandbox('CONTAINER_DELETED_EVENT', sandbox);
}
