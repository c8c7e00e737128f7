import { beforeEach, describe, expect, it } from 'vitest';
import { decode } from '#common/wire/codec.ts';
import { EventExchange } from '../../../apps/core/events/exchange.ts';
import { EndEvents } from '../../../apps/core/tasks/end-events.ts';
import type { Exit } from '../../../apps/core/tasks/exit.ts';

describe('the end of a task', () => {
  const exit: Exit = { pid: 7, exitStatus: 3, exitedAt: { seconds: '1', nanos: 0 } };
  let ends: EndEvents;
  let told: { topic: string; pid: number }[];

  beforeEach(() => {
    told = [];
    const events = new EventExchange();
    const { forward } = events;
    events.forward = (envelope) => {
      const { pid } = decode('containerd.events.TaskDelete', envelope.event.value);
      told.push({ topic: envelope.topic, pid });
      forward.call(events, envelope);
    };
    ends = new EndEvents(events, 1);
    ends.begin('ns', 'web', 7);
  });

  it('is told by the shim, and then by nobody else', () => {
    expect(ends.admit('ns', '/tasks/exit', 'web', 7)).toBe(true);
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(true);
    ends.tell('ns', '/tasks/exit', 'web', exit);
    ends.tell('ns', '/tasks/delete', 'web', exit);
    expect(told).toEqual([]);
    expect(ends.admit('ns', '/tasks/exit', 'web', 7)).toBe(false);
  });

  it('is told in the place of the shim, which is not listened to when it comes late', () => {
    ends.tell('ns', '/tasks/delete', 'web', exit);
    expect(told).toEqual([{ topic: '/tasks/delete', pid: 7 }]);
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(false);
    ends.end('ns', 'web');
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(false);
    expect(ends.admit('other', '/tasks/delete', 'web', 7)).toBe(true);
  });

  it('is told of the next task of that id as well, even if it has the same pid', () => {
    ends.tell('ns', '/tasks/delete', 'web', exit);
    ends.end('ns', 'web');
    ends.begin('ns', 'web', 7);
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(true);
  });

  it('is not taken for that of an earlier task of the id', () => {
    ends.end('ns', 'web');
    ends.begin('ns', 'web', 8);
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(true);
    ends.tell('ns', '/tasks/delete', 'web', { ...exit, pid: 8 });
    expect(told).toEqual([{ topic: '/tasks/delete', pid: 8 }]);
  });

  it('that a shim told before its task was found again stays told', () => {
    expect(ends.admit('ns', '/tasks/exit', 'found', 9)).toBe(true);
    ends.resume('ns', 'found');
    ends.tell('ns', '/tasks/exit', 'found', { ...exit, pid: 9 });
    expect(told).toEqual([]);
    ends.tell('ns', '/tasks/delete', 'found', { ...exit, pid: 9 });
    expect(told).toEqual([{ topic: '/tasks/delete', pid: 9 }]);
  });

  it('of many tasks is remembered within bounds', () => {
    for (let index = 0; index < 3000; index++) ends.admit('ns', '/tasks/delete', `t${index}`, 9);
    expect(ends.admit('ns', '/tasks/delete', 't2999', 9)).toBe(false);
    expect(ends.admit('ns', '/tasks/delete', 't0', 9)).toBe(true);
    expect(ends.admit('ns', '/tasks/delete', 'web', 7)).toBe(true);
  });
});
