import { BerthError } from '#common/errors.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { Sandbox__Output, Sandbox as WireSandbox } from '#proto/containerd/types/Sandbox.ts';
import { fromAny, fromAnys, toAny, toAnys } from '../metadata/typed-bytes.ts';
import type { Sandbox, SandboxInput } from './store.ts';

export function toWire(sandbox: Sandbox): WireSandbox {
  const { id, sandboxer, runtime, spec, labels, extensions, createdAt, updatedAt } = sandbox;
  return {
    sandboxId: id,
    sandboxer,
    runtime: { name: runtime.name, options: runtime.options ? toAny(runtime.options) : null },
    spec: spec ? toAny(spec) : null,
    labels,
    extensions: toAnys(extensions),
    createdAt: timestampFromInstant(createdAt),
    updatedAt: timestampFromInstant(updatedAt),
  };
}

/** @throws invalid_argument when there is none. */
export function fromWire(sandbox: Sandbox__Output | null): SandboxInput {
  if (!sandbox) throw new BerthError('invalid_argument', 'sandbox is missing from the request');
  const { sandboxId, sandboxer, runtime, spec, labels, extensions } = sandbox;
  return {
    id: sandboxId,
    sandboxer,
    runtime: { name: runtime?.name ?? '', options: fromAny(runtime?.options) },
    spec: fromAny(spec),
    labels,
    extensions: fromAnys(extensions),
  };
}
