import { BerthError } from '#common/errors.ts';
import type { ExecRequest__Output } from '#proto/runtime/v1/ExecRequest.ts';
import type { ExecResponse } from '#proto/runtime/v1/ExecResponse.ts';
import { execSpec } from './container-exec-sync.ts';
import type { Runtime } from './runtime.ts';

/** Exec: a URL at which the client finds a command's streams. */
export function execUrl(rt: Runtime, request: ExecRequest__Output): ExecResponse {
  const { containerId, cmd, tty, stdin, stdout, stderr } = request;
  const container = rt.containers.get(containerId);
  execSpec(rt, container.id);
  if (cmd.length === 0) throw new BerthError('invalid_argument', 'the command to run is empty');
  if (tty && stderr) throw new BerthError('invalid_argument', 'tty and stderr: a terminal has one output only');
  if (!stdin && !stdout && !stderr)
    throw new BerthError('invalid_argument', 'one of stdin, stdout and stderr must be set');
  return {
    url: rt.streaming.url({ kind: 'exec', containerId: container.id, command: cmd, tty, stdin, stdout, stderr }),
  };
}
