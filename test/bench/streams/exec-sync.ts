import { removePod, startPod } from '../pod.ts';
import { median } from '../statistics.ts';
import { inTurn, type StreamsSide } from './side.ts';

const rounds = 12;
const warmUps = 200;
const callsPerRound = 10;
const atOnce = 8;

/** ExecSync of `true`: one after another, and some at once, as the probes of a full node come. */
export async function measureExecSync(sides: readonly StreamsSide[]): Promise<void> {
  const targets = [];
  for (const side of sides) targets.push(await prepare(side));
  for (const { call } of targets) for (let warmUp = 0; warmUp < warmUps; warmUp++) await call();
  await inTurn(targets, rounds, async ({ side, call, times, cpu }) => {
    const before = side.runtime.cpu.usedMs();
    for (let index = 0; index < callsPerRound; index++) {
      const begin = performance.now();
      await call();
      times.push(performance.now() - begin);
    }
    cpu.push(side.runtime.cpu.usedMs() - before);
  });
  await inTurn(targets, rounds, async ({ call, rates }) => {
    const begin = performance.now();
    await Promise.all(Array.from({ length: atOnce }, call));
    rates.push((atOnce * 1000) / (performance.now() - begin));
  });
  for (const { side, pod, times, cpu, rates } of targets) {
    side.figures.add('ExecSync, ms', median(times));
    side.figures.add('ExecSync, ms of CPU', median(cpu) / callsPerRound);
    side.figures.add(`ExecSync, ${atOnce} at once, /s`, median(rates));
    await removePod(side.runtime, pod);
  }
}

async function prepare(side: StreamsSide) {
  const pod = await startPod(side.runtime, side.dir, 'exec');
  const { containerId } = pod;
  const call = async (): Promise<void> => {
    const { exitCode } = await side.runtime.cri.runtime.execSync({ containerId, cmd: ['true'], timeout: '10' });
    if (exitCode !== 0) throw new Error(`${side.runtime.name}: exit code ${exitCode}`);
  };
  return { side, pod, call, times: [] as number[], cpu: [] as number[], rates: [] as number[] };
}
