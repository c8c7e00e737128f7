import { setTimeout as sleep } from 'node:timers/promises';
import { startBerthd } from './berthd.ts';
import { killCgroups, removeCgroups } from './cgroups.ts';
import { checkConsistent, checkNothingLeft, type Place } from './core-consistency.ts';
import { CoreLoad } from './core-load.ts';
import { expectNoLeaks, leakSnapshot } from './leaks.ts';
import { Random } from './random.ts';
import { Registry } from './registry.ts';
import { shimProcesses } from './shim-processes.ts';

export interface KillOptions {
  /** Scratch folder, empty. */
  readonly dir: string;
  readonly seed: number;
  /** How often the daemon is killed. */
  readonly points: number;
  readonly tell?: (line: string) => void;
}

/** What a run did, for people to judge how much it says. */
export interface KillFigures {
  readonly points: number;
  readonly pulls: number;
  readonly runs: number;
  readonly deletes: number;
  /** Operations that a kill cut short. */
  readonly cut: number;
}

/** The load runs for up to this long before the kill. */
const longestLoadMs = 900;

/**
 * Kills berthd with SIGKILL at random points of a load of pulls, runs and deletes from a real registry with real runc.
 * After each restart what was acknowledged is there, what is there is whole, and there are as many shims as tasks. In the
 * end everything is deleted through the API, and nothing may be left.
 */
export async function killAtRandom({ dir, seed, points, tell = () => {} }: KillOptions): Promise<KillFigures> {
  const random = new Random(seed);
  const namespace = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => endAll(namespace));
  const registry = stack.use(await Registry.start(dir));
  const berthd = await startBerthd({ dir, logLevel: 'info' });
  stack.use(berthd.daemon);
  const clients = stack.use(berthd.clients(namespace));
  await clients.namespaces.create({ namespace: { name: namespace } });
  const place: Place = { dir, namespace, berthd, clients };
  const load = await CoreLoad.prepare(place, registry, random);
  const scope = { dir, names: [namespace] };
  const clean = leakSnapshot(scope);
  for (let point = 1; point <= points; point++) {
    const working = load.work();
    await sleep(random.int(longestLoadMs));
    await berthd.daemon.kill9();
    load.stop();
    await working;
    await berthd.daemon.start();
    try {
      await checkConsistent(place, load.expected());
    } catch (error) {
      throw new Error(`after kill ${point} of ${points}, seed ${seed}\n${berthd.daemon.logTail()}`, { cause: error });
    }
    if (point % 20 === 0) tell(`${point} of ${points} kills: ${JSON.stringify(load.figures)}`);
  }
  await load.deleteAll();
  await checkNothingLeft(place);
  await expectNoLeaks(scope, clean);
  return { points, ...load.figures };
}

/** After a failure containers may still run. */
async function endAll(namespace: string): Promise<void> {
  for (const { pid } of shimProcesses(namespace)) process.kill(pid, 'SIGKILL');
  await killCgroups(namespace);
  removeCgroups(namespace);
}
