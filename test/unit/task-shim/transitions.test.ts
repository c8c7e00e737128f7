import { describe, expect, it } from 'vitest';
import { requireState } from '../../../apps/task-shim/transitions.ts';

describe('what a state allows', () => {
  it.each([
    ['created', 'start'],
    ['stopped', 'delete'],
    ['running', 'pause'],
    ['paused', 'resume'],
    ['created', 'exec in'],
  ] as const)('a %s process takes %s', (state, action) => {
    expect(() => requireState(state, action)).not.toThrow();
  });

  it.each([
    ['running', 'start', 'cannot start a running process'],
    ['stopped', 'start', 'cannot start a stopped process'],
    ['running', 'delete', 'cannot delete a running process'],
    ['stopped', 'exec in', 'cannot exec in a stopped container'],
    ['paused', 'pause', 'cannot pause a paused container'],
  ] as const)('a %s process refuses %s', (state, action, message) => {
    expect(() => requireState(state, action)).toThrow(
      expect.objectContaining({ code: 'failed_precondition', message }),
    );
  });
});
