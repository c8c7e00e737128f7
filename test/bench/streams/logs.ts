import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { removePod, startPod } from '../pod.ts';
import { median } from '../statistics.ts';
import { inTurn, type StreamsSide } from './side.ts';

const rounds = 3;
/** 76 bytes and a newline. */
const line = `${'0123456789abcdef'.repeat(5).slice(0, 76)}\n`;
const linesPerFile = 400_000;
const copies = 4;
const bytes = line.length * linesPerFile * copies;
/** Time, stream and tag before each line: the log of either side is larger than the output by at least this. */
const leastHeader = '2026-01-01T00:00:00Z stdout F '.length;

/** One container that writes lines as fast as they are taken, from a file: it needs next to no CPU itself. */
export async function measureLogs(sides: readonly StreamsSide[]): Promise<void> {
  const results = sides.map((side) => ({ side, rates: [] as number[], cpu: [] as number[] }));
  for (const { dir } of sides) {
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${dir}/lines`, line.repeat(linesPerFile));
  }
  let round = 0;
  await inTurn(results, rounds, async ({ side, rates, cpu }) => {
    const { runtime, dir, figures } = side;
    const name = `log-${round++}`;
    const file = '/lines/lines';
    const command = ['sh', '-c', `until [ -e /tmp/go ]; do usleep 20000; done; cat ${`${file} `.repeat(copies)}`];
    const pod = await startPod(runtime, dir, name, {
      command,
      mounts: [{ containerPath: '/lines', hostPath: dir, readonly: true }],
    });
    const { containerId } = pod;
    const log = `${dir}/pods/${name}/main/0.log`;
    const before = runtime.cpu.runtimeMs();
    await runtime.cri.runtime.execSync({ containerId, cmd: ['touch', '/tmp/go'], timeout: '10' });
    const begin = performance.now();
    const whole = bytes + (bytes / line.length) * leastHeader;
    for (let still = 0, size = 0; size < whole || still < 3; ) {
      await sleep(20);
      const now = statSync(log).size;
      still = now === size ? still + 1 : 0;
      size = now;
      if (performance.now() - begin > 300_000) throw new Error(`${runtime.name}: the log stays at ${size} bytes`);
    }
    // Three looks at a log that grew no more.
    const seconds = (performance.now() - begin - 60) / 1000;
    rates.push(bytes / 1e6 / seconds);
    cpu.push((runtime.cpu.runtimeMs() - before) / 1000 / (bytes / 1e9));
    figures.add('log of 77-byte lines, MB/s', median(rates));
    figures.add('log of 77-byte lines, s of CPU per GB', median(cpu));
    await removePod(runtime, pod);
  });
}
