import { BerthError } from '#common/errors.ts';
import type { Runtime } from './runtime.ts';

/** ReopenContainerLog: the kubelet has renamed the log file and wants a new one. */
export async function reopenContainerLog(rt: Runtime, id: string): Promise<void> {
  const container = rt.containers.get(id);
  if (container.state !== 'CONTAINER_RUNNING') {
    throw new BerthError('failed_precondition', `container ${container.id} is not running: ${container.state}`);
  }
  await rt.logs.reopen(container.id);
}
