import type { RuntimeConfigResponse } from '#proto/runtime/v1/RuntimeConfigResponse.ts';
import type { Runtime } from './runtime.ts';
import type { CgroupDriver } from './spec/cgroups.ts';

/** RuntimeConfig: tells the kubelet who manages cgroups. */
export function runtimeConfig(rt: Runtime): RuntimeConfigResponse {
  return { linux: { cgroupDriver: cgroupDriver(rt) === 'systemd' ? 'SYSTEMD' : 'CGROUPFS' } };
}

export function cgroupDriver(rt: Pick<Runtime, 'config' | 'host'>): CgroupDriver {
  const { cgroupDriver: configured } = rt.config;
  if (configured !== 'auto') return configured;
  return rt.host.systemd ? 'systemd' : 'cgroupfs';
}
