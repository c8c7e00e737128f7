import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';
import { type ContainerStatus, extensions, type SandboxStatus } from './store/records.ts';
import type { Sandbox } from './store/sandbox.ts';

/** Stores facts about a pod, then takes them over. Changes of one pod are stored in order, each on top of the last. */
export async function updateSandbox(rt: Runtime, sandbox: Sandbox, change: Partial<SandboxStatus>): Promise<void> {
  await rt.queue.run(`status:${sandbox.id}`, async () => {
    const status = { ...sandbox.status, ...change };
    await rt.core.updateRecord(sandbox.id, { extensions: { [extensions.sandboxStatus]: status } });
    sandbox.become(status);
  });
}

/** The same for a container. */
export async function updateContainer(
  rt: Runtime,
  container: Container,
  change: Partial<ContainerStatus>,
): Promise<void> {
  await rt.queue.run(`status:${container.id}`, async () => {
    const status = { ...container.status, ...change };
    await rt.core.updateRecord(container.id, { extensions: { [extensions.containerStatus]: status } });
    container.become(status);
  });
}
