import { loadavg } from 'node:os';
import { startBoth } from './both.ts';
import { Figures, figuresTable } from './core/figures.ts';
import { BenchGround } from './ground.ts';
import { measureExecSync } from './streams/exec-sync.ts';
import { measureLogs } from './streams/logs.ts';
import { measurePortForward } from './streams/port-forward.ts';
import type { StreamsMeasure } from './streams/side.ts';
import { measureStats } from './streams/stats.ts';

const measures: Readonly<Record<string, StreamsMeasure>> = {
  exec: measureExecSync,
  logs: measureLogs,
  forward: measurePortForward,
  stats: measureStats,
};

export const streamsParts = Object.keys(measures);

/** `npm run bench -- streams`: probes, logs, port forwards and statistics beside Debian's containerd, with one runc. */
export async function streamsBench(parts: readonly string[] = streamsParts): Promise<string> {
  await using ground = new BenchGround();
  const { dir, cgroup } = ground;
  await using stack = new AsyncDisposableStack();
  const runtimes = await startBoth(dir, cgroup, stack);
  const sides = runtimes.map((runtime) => ({ runtime, figures: new Figures(), dir: `${dir}/${runtime.shim}` }));
  for (const part of parts) {
    console.error(`bench streams: ${part}, load ${loadavg()[0]?.toFixed(1)}`);
    await measures[part]?.(sides);
  }
  return figuresTable(
    runtimes.map(({ name }) => name),
    sides.map(({ figures }) => figures),
  );
}
