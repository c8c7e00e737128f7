import { forEachAtOnce } from '../../support/at-once.ts';
import { removePod, startPod } from '../pod.ts';
import { median } from '../statistics.ts';
import type { StreamsSide } from './side.ts';

const containers = 200;
const startedAtOnce = 4;
const rounds = 20;

/** One ListContainerStats over all containers of a full node. */
export async function measureStats(sides: readonly StreamsSide[]): Promise<void> {
  for (const side of sides) {
    const { runtime, dir, figures } = side;
    console.error(`bench streams: ${containers} containers of ${runtime.name}`);
    const pods = await forEachAtOnce(containers, startedAtOnce, (n) => startPod(runtime, dir, `stats-${n}`));
    const list = async (): Promise<void> => {
      const { stats } = await runtime.cri.runtime.listContainerStats({});
      const full = stats.filter(({ cpu, memory }) => cpu !== null && memory !== null).length;
      if (full < containers) throw new Error(`${runtime.name}: figures of ${full} containers`);
    };
    const times: number[] = [];
    const cpu: number[] = [];
    // Both sides measure writable layers in the background when they see a container first.
    for (let warmUp = 0; warmUp < 3; warmUp++) await list();
    await new Promise((resolve) => setTimeout(resolve, 5000));
    for (let round = 0; round < rounds; round++) {
      const before = runtime.cpu.runtimeMs();
      const begin = performance.now();
      await list();
      times.push(performance.now() - begin);
      cpu.push(runtime.cpu.runtimeMs() - before);
    }
    figures.add(`stats of ${containers} containers, ms`, median(times));
    figures.add(`stats of ${containers} containers, ms of CPU`, median(cpu));
    await forEachAtOnce(containers, startedAtOnce, async (n) => {
      const pod = pods[n];
      if (pod !== undefined) await removePod(runtime, pod);
    });
  }
}
