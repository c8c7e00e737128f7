import { BerthError } from '#common/errors.ts';
import type { PortForwardRequest__Output } from '#proto/runtime/v1/PortForwardRequest.ts';
import type { PortForwardResponse } from '#proto/runtime/v1/PortForwardResponse.ts';
import type { Runtime } from './runtime.ts';

/** PortForward: a URL at which the client may open connections to the pod's ports. */
export function portForwardUrl(
  rt: Runtime,
  { podSandboxId, port: ports }: PortForwardRequest__Output,
): PortForwardResponse {
  const sandbox = rt.sandboxes.get(podSandboxId);
  podNetns(rt, sandbox.id);
  const bad = ports.find((port) => port < 1 || port > 65_535);
  if (bad !== undefined) throw new BerthError('invalid_argument', `port ${bad} is not between 1 and 65535`);
  return { url: rt.streaming.url({ kind: 'portforward', sandboxId: sandbox.id, ports }) };
}

/** The network namespace of a pod that is ready; null: the host's. */
export function podNetns(rt: Runtime, id: string): string | null {
  const sandbox = rt.sandboxes.get(id);
  if (!sandbox.ready) throw new BerthError('failed_precondition', `pod sandbox ${sandbox.id} is not ready`);
  return sandbox.metadata.netnsPath === '' ? null : sandbox.metadata.netnsPath;
}
