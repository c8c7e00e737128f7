import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bridgeNetwork, removeBridge } from '../support/bridge.ts';
import { criClients } from '../support/cri-clients.ts';
import { Daemon } from '../support/daemon.ts';
import { CpuAccount } from './cpu-account.ts';
import type { BenchRuntime } from './runtime.ts';

export interface BenchOptions {
  readonly dir: string;
  /** Cgroup of the whole run. */
  readonly cgroup: string;
  readonly image: string;
  readonly pauseImage: string;
}

/** Debian's containerd with its CRI plugin, in a folder of its own. */
export async function startContainerd({ dir, cgroup, image, pauseImage }: BenchOptions): Promise<BenchRuntime> {
  mkdirSync(dir, { recursive: true });
  const network = bridgeNetwork(dir, 241);
  const socket = join(dir, 'containerd.sock');
  const config = join(dir, 'config.toml');
  writeFileSync(
    config,
    `version = 2
root = "${join(dir, 'root')}"
state = "${join(dir, 'state')}"
[grpc]
address = "${socket}"
[debug]
level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${pauseImage}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${network.confDir}"
`,
  );
  const daemon = await Daemon.start({
    command: ['containerd', '--config', config],
    socket,
    logPath: join(dir, 'logs', 'containerd.log'),
  });
  const cpu = new CpuAccount(`${cgroup}/containerd`);
  cpu.add(daemon.pid);
  const cri = criClients(socket);
  const pulled = await cri.image.pullImage({ image: { image } }, { waitForReady: true, timeoutMs: 60_000 });
  return {
    name: 'containerd 1.6',
    cri,
    cpu,
    shim: 'containerd-shim-runc-v2',
    image: pulled.imageRef,
    async [Symbol.asyncDispose]() {
      cri[Symbol.dispose]();
      await daemon.stop();
      removeBridge(network);
    },
  };
}
