import { BerthError } from '#common/errors.ts';
import type { AttachRequest__Output } from '#proto/runtime/v1/AttachRequest.ts';
import type { AttachResponse } from '#proto/runtime/v1/AttachResponse.ts';
import { runningContainer } from './container-exec-sync.ts';
import type { Runtime } from './runtime.ts';

/** Attach: a URL at which the client finds the streams of a container's own process. */
export function attachUrl(rt: Runtime, request: AttachRequest__Output): AttachResponse {
  const { containerId, tty, stdin, stdout, stderr } = request;
  const { id, metadata } = runningContainer(rt, containerId);
  if (tty && stderr) throw new BerthError('invalid_argument', 'tty and stderr: a terminal has one output only');
  if (tty && !metadata.config.tty) {
    throw new BerthError('invalid_argument', `tty: container ${id} was created without a terminal`);
  }
  if (!stdin && !stdout && !stderr)
    throw new BerthError('invalid_argument', 'one of stdin, stdout and stderr must be set');
  return { url: rt.streaming.url({ kind: 'attach', containerId: id, tty, stdin, stdout, stderr }) };
}
