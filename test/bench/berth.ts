import { startBerth as startDaemons } from '../support/berth.ts';
import { removeBridge } from '../support/bridge.ts';
import type { BenchOptions } from './containerd.ts';
import { CpuAccount } from './cpu-account.ts';
import type { BenchRuntime } from './runtime.ts';

/** Both daemons of Berth, as the tests run them, but with the log level of a node. */
export async function startBerth({ dir, cgroup, image, pauseImage }: BenchOptions): Promise<BenchRuntime> {
  const settings = { sandbox_image: pauseImage, log: { level: 'warn' } };
  const berth = await startDaemons({ dir, network: 240, settings, logLevel: 'warn' });
  const cpu = new CpuAccount(`${cgroup}/berth`);
  cpu.add(berth.berthd.daemon.pid);
  cpu.add(berth.cri.pid);
  const cri = berth.clients();
  for (const each of [pauseImage, image]) await cri.image.pullImage({ image: { image: each } }, { timeoutMs: 60_000 });
  return {
    name: 'Berth',
    cri,
    cpu,
    shim: 'containerd-shim-berth-v1',
    image,
    async [Symbol.asyncDispose]() {
      cri[Symbol.dispose]();
      await berth.stop();
      removeBridge(berth.network);
    },
  };
}
