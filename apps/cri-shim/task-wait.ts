import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from './runtime.ts';
import { Container } from './store/container.ts';
import type { Sandbox } from './store/sandbox.ts';
import { containerExited, sandboxExited, unseenExit } from './task-exit.ts';

/** How long a killed process may take before it counts as stuck. */
const killedMs = 30_000;
/** An exit is told by an event; in case that was lost, the task is asked now and then. */
const askEveryMs = 2_000;

/** Waits until a killed process has ended and its end is stored; false when it hasn't within half a minute. */
export async function awaitExit(rt: Runtime, target: Container | Sandbox, signal?: AbortSignal): Promise<boolean> {
  const until = Date.now() + killedMs;
  while (Date.now() < until) {
    if (await exitsWithin(target, askEveryMs, signal)) return true;
    const task = await rt.core.task(target.id);
    if (task !== undefined && task.status !== 'STOPPED') continue;
    const exit = task ?? unseenExit();
    if (target instanceof Container) await containerExited(rt, target, exit);
    else await sandboxExited(rt, target, exit);
    return true;
  }
  return false;
}

/** Whether the end comes within `ms`. @throws the signal's reason when that fires first */
export async function exitsWithin(
  target: { readonly exited: Promise<void> },
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const timer = new AbortController();
  const signals = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal]);
  try {
    return await Promise.race([
      target.exited.then(() => true),
      sleep(ms, false, { signal: signals }).catch((error: unknown) => {
        if (signal?.aborted) throw signal.reason;
        if (timer.signal.aborted) return false;
        throw error;
      }),
    ]);
  } finally {
    timer.abort();
  }
}
