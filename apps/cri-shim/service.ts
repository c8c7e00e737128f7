import { type Implementation, implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { RuntimeServiceHandlers } from '#proto/runtime/v1/RuntimeService.ts';
import { attachUrl } from './container-attach.ts';
import { checkpointContainer } from './container-checkpoint.ts';
import { createContainer } from './container-create.ts';
import { execUrl } from './container-exec.ts';
import { execSync } from './container-exec-sync.ts';
import { listContainers } from './container-list.ts';
import { reopenContainerLog } from './container-log-reopen.ts';
import { removeContainer } from './container-remove.ts';
import { startContainer } from './container-start.ts';
import { containerStats, listContainerStats } from './container-stats.ts';
import { containerStatus } from './container-status.ts';
import { stopContainerById } from './container-stop.ts';
import { updateContainerResources } from './container-update-resources.ts';
import type { Runtime } from './runtime.ts';
import { runtimeConfig } from './runtime-config.ts';
import { updateRuntimeConfig } from './runtime-config-update.ts';
import { listSandboxes } from './sandbox-list.ts';
import { listSandboxMetrics, metricDescriptors } from './sandbox-metrics.ts';
import { portForwardUrl } from './sandbox-port-forward.ts';
import { removeSandbox } from './sandbox-remove.ts';
import { runSandbox } from './sandbox-run.ts';
import { listSandboxStats, sandboxStats } from './sandbox-stats.ts';
import { sandboxStatus } from './sandbox-status.ts';
import { stopSandbox } from './sandbox-stop.ts';
import { updateSandboxResources } from './sandbox-update-resources.ts';
import { runtimeStatus } from './status.ts';
import { inMessages } from './stream-list.ts';
import { runtimeVersion } from './version.ts';

/** runtime.v1.RuntimeService, whole. */
export function runtimeService(rt: Runtime): Service {
  const implementation: Implementation<RuntimeServiceHandlers> = {
    version: () => runtimeVersion(),
    status: (request) => runtimeStatus(rt, request.verbose),
    runtimeConfig: () => runtimeConfig(rt),
    updateRuntimeConfig: async (request) => {
      await updateRuntimeConfig(rt, request);
      return {};
    },

    runPodSandbox: async (request, ctx) => ({ podSandboxId: await runSandbox(rt, request, ctx.signal) }),
    stopPodSandbox: async ({ podSandboxId }) => {
      await stopSandbox(rt, podSandboxId);
      return {};
    },
    removePodSandbox: async ({ podSandboxId }) => {
      await removeSandbox(rt, podSandboxId);
      return {};
    },
    updatePodSandboxResources: async (request) => {
      await updateSandboxResources(rt, request);
      return {};
    },
    podSandboxStatus: ({ podSandboxId, verbose }) => sandboxStatus(rt, podSandboxId, verbose),
    podSandboxStats: async ({ podSandboxId }) => ({ stats: await sandboxStats(rt, podSandboxId) }),
    listPodSandboxStats: async ({ filter }) => ({ stats: await listSandboxStats(rt, filter) }),
    async *streamPodSandboxStats({ filter }) {
      for (const podSandboxStats of inMessages(await listSandboxStats(rt, filter))) {
        yield { podSandboxStats };
      }
    },
    listMetricDescriptors: () => ({ descriptors: metricDescriptors() }),
    listPodSandboxMetrics: async () => ({ podMetrics: await listSandboxMetrics(rt) }),
    async *streamPodSandboxMetrics() {
      for (const podSandboxMetrics of inMessages(await listSandboxMetrics(rt))) yield { podSandboxMetrics };
    },
    listPodSandbox: ({ filter }) => ({ items: listSandboxes(rt, filter) }),
    async *streamPodSandboxes({ filter }) {
      for (const podSandboxes of inMessages(listSandboxes(rt, filter))) yield { podSandboxes };
    },

    createContainer: async (request, ctx) => ({ containerId: await createContainer(rt, request, ctx.signal) }),
    startContainer: async ({ containerId }) => {
      await startContainer(rt, containerId);
      return {};
    },
    stopContainer: async ({ containerId, timeout }, ctx) => {
      await stopContainerById(rt, containerId, Number(timeout), ctx.signal);
      return {};
    },
    removeContainer: async ({ containerId }) => {
      await removeContainer(rt, containerId);
      return {};
    },
    containerStats: async ({ containerId }) => ({ stats: await containerStats(rt, containerId) }),
    listContainerStats: async ({ filter }) => ({ stats: await listContainerStats(rt, filter) }),
    async *streamContainerStats({ filter }) {
      for (const containerStats of inMessages(await listContainerStats(rt, filter))) {
        yield { containerStats };
      }
    },
    listContainers: ({ filter }) => ({ containers: listContainers(rt, filter) }),
    async *streamContainers({ filter }) {
      for (const containers of inMessages(listContainers(rt, filter))) yield { containers };
    },
    getContainerEvents: (_, ctx) => rt.podEvents.follow(ctx.signal),
    containerStatus: ({ containerId, verbose }) => containerStatus(rt, containerId, verbose),
    updateContainerResources: async (request) => {
      await updateContainerResources(rt, request);
      return {};
    },
    reopenContainerLog: async ({ containerId }) => {
      await reopenContainerLog(rt, containerId);
      return {};
    },
    checkpointContainer: async (request) => {
      await checkpointContainer(rt, request);
      return {};
    },
    execSync: (request, ctx) => execSync(rt, request, ctx.signal),
    exec: (request) => execUrl(rt, request),
    attach: (request) => attachUrl(rt, request),
    portForward: (request) => portForwardUrl(rt, request),
  };
  return implement(serviceDefinition('runtime.v1.RuntimeService'), implementation, { log: rt.log });
}
