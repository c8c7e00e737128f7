import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Forgotten } from '../../../apps/task-shim/forgotten.ts';

describe('a shim that nobody may want any more', () => {
  const duty = { atRest: true, held: false, found: false };
  let ended: number;
  let forgotten: Forgotten;

  beforeEach(() => {
    vi.useFakeTimers();
    Object.assign(duty, { atRest: true, held: false, found: false });
    ended = 0;
    forgotten = new Forgotten(
      { isAtRest: () => duty.atRest, isHeld: () => duty.held, canBeFound: () => duty.found },
      () => ended++,
    );
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends after a minute without a container and without a daemon', () => {
    forgotten.changed();
    vi.advanceTimersByTime(59_000);
    expect(ended).toBe(0);
    vi.advanceTimersByTime(2000);
    expect(ended).toBe(1);
  });

  it('ends seconds after the daemon that made it has gone', () => {
    forgotten.changed();
    forgotten.vacated();
    vi.advanceTimersByTime(3000);
    expect(ended).toBe(1);
  });

  it('stays for a daemon that comes back', () => {
    forgotten.vacated();
    duty.held = true;
    vi.advanceTimersByTime(300_000);
    expect(ended).toBe(0);
  });

  it('runs no timer while a container lives', () => {
    duty.atRest = false;
    forgotten.changed();
    forgotten.vacated();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stays for a daemon that is connected, and for an exit that can still be asked for', () => {
    duty.held = true;
    forgotten.changed();
    vi.advanceTimersByTime(300_000);
    Object.assign(duty, { held: false, found: true });
    vi.advanceTimersByTime(300_000);
    expect(ended).toBe(0);
    duty.found = false;
    vi.advanceTimersByTime(60_000);
    expect(ended).toBe(1);
  });

  it('stays when a container came meanwhile', () => {
    forgotten.changed();
    duty.atRest = false;
    vi.advanceTimersByTime(120_000);
    expect([ended, vi.getTimerCount()]).toEqual([0, 0]);
  });

  it('is looked after no longer once that is disposed of', () => {
    forgotten.changed();
    forgotten[Symbol.dispose]();
    forgotten.vacated();
    vi.advanceTimersByTime(120_000);
    expect([ended, vi.getTimerCount()]).toEqual([0, 0]);
  });
});
