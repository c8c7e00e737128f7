import { startBerthd } from '../../support/berthd.ts';
import { startContainerd } from '../../support/containerd.ts';
import type { CoreClients } from '../../support/core-clients.ts';
import { CpuAccount } from '../cpu-account.ts';

/** A core daemon under measurement, driven through containerd's API. */
export interface BenchSide extends AsyncDisposable {
  readonly name: string;
  /** For names that both sides must not share on one machine. */
  readonly key: string;
  readonly dir: string;
  readonly socket: string;
  readonly pid: number;
  readonly clients: CoreClients;
  readonly cpu: CpuAccount;
}

export const namespace = 'bench';

export async function startBerthdSide(dir: string, cgroup: string): Promise<BenchSide> {
  const berthd = await startBerthd({ dir: `${dir}/berthd`, logLevel: 'warn' });
  return sideOf('berthd', 'berthd', dir, cgroup, berthd);
}

export async function startContainerdSide(dir: string, cgroup: string): Promise<BenchSide> {
  const containerd = await startContainerd({ dir: `${dir}/containerd` });
  return sideOf('containerd 1.6', 'containerd', dir, cgroup, containerd);
}

type Started = Pick<Awaited<ReturnType<typeof startContainerd>>, 'daemon' | 'socket' | 'clients'>;

async function sideOf(name: string, key: string, dir: string, cgroup: string, started: Started): Promise<BenchSide> {
  const { daemon, socket } = started;
  const cpu = new CpuAccount(`${cgroup}/${key}`);
  cpu.add(daemon.pid);
  const clients = started.clients(namespace);
  await clients.namespaces.create({ namespace: { name: namespace } });
  return {
    ...{ name, key, dir, socket, pid: daemon.pid, clients, cpu },
    async [Symbol.asyncDispose]() {
      clients[Symbol.dispose]();
      await daemon.stop();
    },
  };
}
