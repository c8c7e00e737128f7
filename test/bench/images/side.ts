import { mkdirSync } from 'node:fs';
import { startBerth } from '../../support/berth.ts';
import { bridgeNetwork, removeBridge } from '../../support/bridge.ts';
import { startContainerd } from '../../support/containerd.ts';
import type { CoreClients } from '../../support/core-clients.ts';
import { type CriClients, criClients } from '../../support/cri-clients.ts';
import { CpuAccount } from '../cpu-account.ts';

/** A runtime whose images are measured. */
export interface ImageSide extends AsyncDisposable {
  readonly name: string;
  readonly cri: CriClients;
  /** Socket of containerd's API. */
  readonly socket: string;
  readonly core: CoreClients;
  readonly cpu: CpuAccount;
  /** Pids of a CRI daemon of its own, which has no part in pulls but asks for them. */
  readonly criDaemons: readonly number[];
}

/** What the CRI calls its own in containerd's API. */
export const criNamespace = 'k8s.io';

export async function startBerthSide(dir: string, cgroup: string): Promise<ImageSide> {
  const berth = await startBerth({ dir, network: 242, logLevel: 'warn' });
  const cpu = new CpuAccount(`${cgroup}/berth`);
  cpu.add(berth.berthd.daemon.pid);
  cpu.add(berth.cri.pid);
  const cri = berth.clients();
  const core = berth.berthd.clients(criNamespace);
  return {
    ...{ name: 'Berth', cri, core, cpu, socket: berth.berthd.socket, criDaemons: [berth.cri.pid] },
    async [Symbol.asyncDispose]() {
      cri[Symbol.dispose]();
      core[Symbol.dispose]();
      await berth.stop();
      removeBridge(berth.network);
    },
  };
}

export async function startContainerdSide(dir: string, cgroup: string): Promise<ImageSide> {
  mkdirSync(dir, { recursive: true });
  const network = bridgeNetwork(dir, 243);
  const cni = { bin_dir: '/usr/lib/cni', conf_dir: network.confDir };
  const plugins = { 'io.containerd.grpc.v1.cri': { restrict_oom_score_adj: true, cni } };
  const { daemon, socket, clients } = await startContainerd({ dir, plugins, disabled: [] });
  const cpu = new CpuAccount(`${cgroup}/containerd`);
  cpu.add(daemon.pid);
  const cri = criClients(socket);
  const core = clients(criNamespace);
  return {
    ...{ name: 'containerd 1.6', cri, core, cpu, socket, criDaemons: [] },
    async [Symbol.asyncDispose]() {
      cri[Symbol.dispose]();
      core[Symbol.dispose]();
      await daemon.stop();
      removeBridge(network);
    },
  };
}
