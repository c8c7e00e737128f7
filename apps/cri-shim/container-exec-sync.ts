import { BerthError } from '#common/errors.ts';
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
  const container = rt.containers.get(request.containerId);
  if (container.state !== 'CONTAINER_RUNNING' || container.process === undefined) {
    throw new BerthError('failed_precondition', `container ${container.id} is not running: ${container.state}`);
  }
  if (request.cmd.length === 0) throw new BerthError('invalid_argument', 'the command to run is empty');
  const timeoutMs = Number(request.timeout) * 1000;
  if (timeoutMs < 0) throw new BerthError('invalid_argument', `timeout ${request.timeout} is negative`);
  const spec = { ociVersion, process: container.process };
  return await rt.exec.execSync(container.id, spec, request.cmd, timeoutMs, signal);
}
