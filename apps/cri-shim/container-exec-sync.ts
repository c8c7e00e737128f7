import { BerthError } from '#common/errors.ts';
import type { Process, RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { ExecSyncRequest__Output } from '#proto/runtime/v1/ExecSyncRequest.ts';
import type { ExecSyncResponse } from '#proto/runtime/v1/ExecSyncResponse.ts';
import type { Runtime } from './runtime.ts';
import { ociVersion } from './spec/sandbox-spec.ts';
import type { Container } from './store/container.ts';

/** ExecSync: a command beside the container's process, with its output. A timeout of 0 seconds is none. */
export async function execSync(
  rt: Runtime,
  request: ExecSyncRequest__Output,
  signal: AbortSignal,
): Promise<ExecSyncResponse> {
  const { id } = rt.containers.get(request.containerId);
  const spec = execSpec(rt, id);
  if (request.cmd.length === 0) throw new BerthError('invalid_argument', 'the command to run is empty');
  const timeoutMs = Number(request.timeout) * 1000;
  if (timeoutMs < 0) throw new BerthError('invalid_argument', `timeout ${request.timeout} is negative`);
  return await rt.exec.execSync(id, spec, request.cmd, timeoutMs, signal);
}

/** @throws not_found; failed_precondition for a container that doesn't run */
export function runningContainer(rt: Runtime, containerId: string): Container & { readonly process: Process } {
  const container = rt.containers.get(containerId);
  if (container.state !== 'CONTAINER_RUNNING' || container.process === undefined) {
    throw new BerthError('failed_precondition', `container ${container.id} is not running: ${container.state}`);
  }
  return container as Container & { readonly process: Process };
}

/** What a command inherits from its container. @throws not_found; failed_precondition for one that doesn't run */
export function execSpec(rt: Runtime, containerId: string): RuntimeSpec {
  const container = runningContainer(rt, containerId);
  return { ociVersion, process: container.process };
}
