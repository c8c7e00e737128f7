import { afterEach, describe, expect, it, vi } from 'vitest';
import { timestampNow } from '#common/timestamp.ts';
import { encode } from '#common/wire/codec.ts';
import type { Envelope } from '../../../apps/core/events/events.ts';
import { MissedExits } from '../../../apps/core/events/missed-exits.ts';

function envelope(topic: '/tasks/exit' | '/tasks/delete', containerId: string): Envelope {
  const type = topic === '/tasks/exit' ? 'containerd.events.TaskExit' : 'containerd.events.TaskDelete';
  const value = Buffer.from(encode(type, { containerId, id: containerId }));
  return { timestamp: timestampNow(), namespace: 'default', topic, event: { type_url: type, value } };
}

describe('exits that clients may have missed', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('are kept for a while only', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const missed = new MissedExits(20);
    const exit = envelope('/tasks/exit', 'old');
    missed.note(exit);
    expect(missed.list()).toEqual([exit]);
    vi.advanceTimersByTime(40);
    expect(missed.list()).toEqual([]);
  });

  it('are forgotten once the task has been deleted', () => {
    const missed = new MissedExits();
    const exits = ['deleted', 'ended'].map((id) => envelope('/tasks/exit', id));
    for (const exit of exits) missed.note(exit);
    missed.note(envelope('/tasks/delete', 'deleted'));
    expect(missed.list()).toEqual(exits.slice(1));
  });
});
