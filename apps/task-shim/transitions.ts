import { BerthError } from '#common/errors.ts';
import type { ProcessState } from './process.ts';

/** In which states of a process an action is possible. */
const possible = {
  start: ['created'],
  delete: ['created', 'stopped'],
  pause: ['running'],
  resume: ['paused'],
  checkpoint: ['running', 'paused'],
  update: ['created', 'running', 'paused'],
  'exec in': ['created', 'running'],
} as const satisfies Record<string, readonly ProcessState[]>;

export type Action = keyof typeof possible;

/** Throws `failed_precondition`: `cannot start a stopped process`. */
export function requireState(state: ProcessState, action: Action): void {
  if ((possible[action] as readonly ProcessState[]).includes(state)) return;
  const noun = action === 'start' || action === 'delete' ? 'process' : 'container';
  throw new BerthError('failed_precondition', `cannot ${action} a ${state} ${noun}`);
}
