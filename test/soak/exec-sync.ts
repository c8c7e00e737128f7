/**
 * `npm run soak -- execsync`: commands by ExecSync, 8 at a time, each with output and an exit code of its own.
 * Afterwards both daemons are as large as after the 2,000 that came before, and nothing is left. `--rounds` is the number of calls,
 * 100,000 unless it is given.
 */
import { forEachAtOnce } from '../support/at-once.ts';
import { patient } from '../support/cri-suite.ts';
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { soakBed } from './cri-bed.ts';
import { expectFlat } from './flat.ts';
import type { SoakOptions } from './main.ts';

const width = 8;
const warmUp = 2_000;
const tellEvery = 5_000;

export async function execSyncSoak({ rounds = 100_000, handler, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed(handler);
  const { containerId } = await bed.start('target', { command: ['sleep', '1000000'] });
  let calls = 0;
  const probe = async (): Promise<void> => {
    const n = ++calls;
    if (n % tellEvery === 0) tell(`${n} calls`);
    const cmd = ['sh', '-c', `echo out-${n}; echo err-${n} >&2; exit ${n % 100}`];
    const answer = await bed.cri.runtime.execSync({ containerId, cmd, timeout: '60' }, patient);
    const got = `${answer.stdout}${answer.stderr}${answer.exitCode}`;
    if (got !== `out-${n}\nerr-${n}\n${n % 100}`) throw new Error(`call ${n} answered ${JSON.stringify(got)}`);
  };
  await probe();
  const before = leakSnapshot(bed.scope);
  const begin = performance.now();
  const work = async (count: number) => void (await forEachAtOnce(count, width, probe));
  await expectFlat(bed, { warmUp, count: rounds, work, tell });
  tell(`${Math.round(((warmUp + rounds) * 1000) / (performance.now() - begin))} calls a second`);
  await expectNoLeaks(bed.scope, before);
  await bed.removeAll();
}
