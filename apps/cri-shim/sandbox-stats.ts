import type { PodSandboxStats } from '#proto/runtime/v1/PodSandboxStats.ts';
import type { PodSandboxStatsFilter__Output } from '#proto/runtime/v1/PodSandboxStatsFilter.ts';
import { runningByPod } from './running-containers.ts';
import type { Runtime } from './runtime.ts';
import { selectsSandbox } from './selection.ts';

/** PodSandboxStats: of the pod's cgroup, its network, and its containers that run. @throws not_found */
export async function sandboxStats(rt: Runtime, id: string): Promise<PodSandboxStats> {
  const sandbox = rt.sandboxes.get(id);
  return await rt.stats.ofSandbox(sandbox, runningByPod(rt).get(sandbox.id) ?? []);
}

/** ListPodSandboxStats: of pods that are ready. */
export async function listSandboxStats(
  rt: Runtime,
  filter: PodSandboxStatsFilter__Output | null,
): Promise<PodSandboxStats[]> {
  const running = runningByPod(rt);
  const asked = rt.sandboxes.values().filter((sandbox) => sandbox.ready && selectsSandbox(filter, sandbox));
  return await Promise.all(asked.map((sandbox) => rt.stats.ofSandbox(sandbox, running.get(sandbox.id) ?? [])));
}
