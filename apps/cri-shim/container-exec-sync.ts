import { BerthError } from '#common/errors.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { ExecSyncRequest__Output } from '#proto/runtime/v1/ExecSyncRequest.ts';
import type { ExecSyncResponse } from '#proto/runtime/v1/ExecSyncResponse.ts';
import type { Runtime } from './runtime.ts';
import { ociVersion } from './spec/sandbox-spec.ts';

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

/** What a command inherits from its container. @throws not_found; failed_precondition for one that doesn't run */
export function execSpec(rt: Runtime, containerId: string): RuntimeSpec {
  const container = rt.containers.get(containerId);
  if (container.state !== 'CONTAINER_RUNNING' || container.process === undefined) {
    throw new BerthError('failed_precondition', `container ${container.id} is not running: ${container.state}`);
  }
  return { ociVersion, process: container.process };
}
