import { setTimeout as sleep } from 'node:timers/promises';

/** How much longer than usual things may take here: a guest under emulation is slow. */
const patience = Number(process.env.BERTH_PATIENCE ?? 1);

/** Calls `probe` until it returns something other than undefined or false, or throws once `ms` have passed. */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  ms = 10_000,
): Promise<T> {
  const end = performance.now() + ms * patience;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited ${ms * patience} ms for ${what}`);
    await sleep(20);
  }
}
