import type { PodSandbox } from '#proto/runtime/v1/PodSandbox.ts';
import type { PodSandboxFilter__Output } from '#proto/runtime/v1/PodSandboxFilter.ts';
import type { Runtime } from './runtime.ts';
import { selectsSandbox } from './selection.ts';
import type { Sandbox } from './store/sandbox.ts';

/** ListPodSandbox, from memory. The id in the filter may be cut short. */
export function listSandboxes(rt: Runtime, filter: PodSandboxFilter__Output | null): PodSandbox[] {
  return rt.sandboxes
    .values()
    .filter((sandbox) => {
      if (!sandbox.listed) return false;
      const state = filter?.state ?? null;
      return (state === null || state.state === sandboxState(sandbox)) && selectsSandbox(filter, sandbox);
    })
    .map(describe);
}

export function sandboxState(sandbox: Sandbox): 'SANDBOX_READY' | 'SANDBOX_NOTREADY' {
  return sandbox.ready ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY';
}

function describe(sandbox: Sandbox): PodSandbox {
  const { metadata } = sandbox;
  return {
    id: sandbox.id,
    metadata: metadata.config.metadata,
    state: sandboxState(sandbox),
    createdAt: metadata.createdAt,
    labels: metadata.config.labels,
    annotations: metadata.config.annotations,
    runtimeHandler: metadata.runtimeHandler,
  };
}
