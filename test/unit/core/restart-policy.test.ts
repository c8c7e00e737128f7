import { describe, expect, it } from 'vitest';
import { restartCount, restartLabels, wantsRestart } from '../../../apps/core/restart/policy.ts';

const { policy, count, explicitlyStopped } = restartLabels;

describe('a restart policy', () => {
  it.each([
    [{}, 0, true],
    [{ [policy]: 'always' }, 0, true],
    [{ [policy]: 'no' }, 1, false],
    [{ [policy]: 'unless-stopped' }, 0, true],
    [{ [policy]: 'unless-stopped', [explicitlyStopped]: 'true' }, 1, false],
    [{ [policy]: 'unless-stopped', [explicitlyStopped]: 'no' }, 1, true],
    [{ [policy]: 'always', [explicitlyStopped]: 'true' }, 0, true],
    [{ [policy]: 'on-failure' }, 0, false],
    [{ [policy]: 'on-failure', [count]: '99' }, 1, true],
    [{ [policy]: 'on-failure:2', [count]: '1' }, 1, true],
    [{ [policy]: 'on-failure:2', [count]: '2' }, 1, false],
    [{ [policy]: 'on-failure:0', [count]: '2' }, 1, true],
  ])('%j after exit status %i: %j', (labels, exitStatus, wanted) => {
    expect(wantsRestart(labels, exitStatus)).toBe(wanted);
  });

  it.each(['sometimes', 'always:1', 'on-failure:', 'on-failure:many', 'On-Failure'])('is refused: %s', (text) => {
    expect(() => wantsRestart({ [policy]: text }, 1)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('starts counting at 0', () => {
    expect(restartCount({})).toBe(0);
    expect(restartCount({ [count]: '7' })).toBe(7);
    expect(() => restartCount({ [count]: 'x' })).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});
