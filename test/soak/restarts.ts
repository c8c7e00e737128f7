/**
 * `npm run soak -- restarts`: pods come and go while berthd and berth-cri are each ended by signal and started again
 * every five seconds, now gently, now by kill -9. Calls may answer Unavailable; no exit code is wrong, and nothing is
 * left behind. `--rounds` is the number of restarts of each, 24 unless it is given.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { soakBed } from './cri-bed.ts';
import type { SoakOptions } from './main.ts';

const width = 4;
const everyMs = 5_000;

export async function restartsSoak({ rounds = 24, handler, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed(handler);
  await bed.onePod();
  const before = leakSnapshot(bed.scope);
  const counts = { pods: 0, unavailable: 0 };
  let ended = false;
  const worker = async (): Promise<void> => {
    while (!ended) {
      try {
        await bed.onePod();
        counts.pods += 1;
      } catch (error) {
        // Both may be away for longer than a call waits; what it had made is found and removed at the end.
        if (!isCode(error, 'unavailable')) throw error;
        counts.unavailable += 1;
      }
    }
  };
  const workers = Promise.all(Array.from({ length: width }, worker));
  workers.catch(() => {
    ended = true;
  });
  for (let round = 0; round < rounds && !ended; round += 1) {
    await sleep(everyMs / 2);
    await restart(bed.berth.berthd.daemon, round);
    await sleep(everyMs / 2);
    await restart(bed.berth.cri, round);
  }
  ended = true;
  await workers;
  await bed.removeAll();
  tell(`${rounds} restarts of each, ${counts.pods} pods, ${counts.unavailable} of them met Unavailable`);
  await nothingLeft(bed.scope, before);
}

/** What couldn't be taken back while a daemon was away is tried again, at first after a second, then each minute. */
async function nothingLeft(scope: LeakScope, before: LeakSnapshot): Promise<void> {
  const until = Date.now() + 90_000;
  for (;;) {
    try {
      return await expectNoLeaks(scope, before);
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}

async function restart(
  daemon: { stop(): Promise<void>; kill9(): Promise<void>; start(): Promise<void> },
  round: number,
) {
  if (round % 2 === 0) await daemon.stop();
  else await daemon.kill9();
  await daemon.start();
}
