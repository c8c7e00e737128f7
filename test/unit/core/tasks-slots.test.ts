import { describe, expect, it } from 'vitest';
import { Slots } from '../../../apps/core/tasks/slots.ts';

describe('slots', () => {
  it('run no more at a time than there are, in order, and go on after a failure', async () => {
    const slots = new Slots(2);
    const log: string[] = [];
    const gates = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
    const runs = gates.map((gate, index) =>
      slots.run(async () => {
        log.push(`start ${index}`);
        await gate.promise;
        log.push(`end ${index}`);
        return index;
      }),
    );
    await Promise.resolve();
    expect(log).toEqual(['start 0', 'start 1']);
    gates[1]?.reject(new Error('no'));
    await expect(runs[1]).rejects.toThrow('no');
    expect(log).toEqual(['start 0', 'start 1', 'start 2']);
    for (const gate of gates) gate.resolve();
    expect(await Promise.all([runs[0], runs[2], runs[3]])).toEqual([0, 2, 3]);
    expect(log.slice(0, 4)).toEqual(['start 0', 'start 1', 'start 2', 'end 0']);
  });
});
