import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventfdSignal } from '#common/native/index.ts';
import { OomWatch } from '../../../apps/task-shim/oom-watch.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

let dir: string;
let told: number;
let watch: OomWatch;
const tell = (): void => {
  told++;
};

beforeEach(() => {
  dir = scratchDir();
  told = 0;
});
afterEach(() => {
  watch.close();
  removeScratch(dir);
});

describe('kills for want of memory', () => {
  it('are told on v2 as the kernel changes the file, and once', async () => {
    const events = join(dir, 'memory.events');
    writeFileSync(events, 'low 0\noom 3\noom_kill 2\n');
    watch = new OomWatch({ version: 2, folder: dir }, tell);
    watch.start();
    writeFileSync(events, 'low 1\noom 3\noom_kill 2\n');
    writeFileSync(events, 'low 1\noom 4\noom_kill 3\n');
    await waitFor('the kill to be told', () => told === 1);
    expect(watch.look()).toBe(false);
    expect(told).toBe(1);
  });

  it('are told on v1 though the kernel counts them after it notifies', async () => {
    const memory = join(dir, 'memory');
    mkdirSync(memory);
    writeFileSync(join(memory, 'memory.oom_control'), 'oom_kill_disable 0\nunder_oom 0\noom_kill 0\n');
    writeFileSync(join(memory, 'cgroup.event_control'), '');
    watch = new OomWatch({ version: 1, folders: new Map([['memory', memory]]) }, tell);
    watch.start();
    const [notifier] = readFileSync(join(memory, 'cgroup.event_control'), 'utf8').split(' ').map(Number);
    eventfdSignal(notifier ?? -1);
    await new Promise((resolve) => setImmediate(resolve));
    writeFileSync(join(memory, 'memory.oom_control'), 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n');
    await waitFor('the kill to be told', () => told === 1);
  });

  it('are not counted, and that is no failure, without a memory controller', () => {
    for (const cgroup of [undefined, { version: 2, folder: dir }, { version: 1, folders: new Map() }] as const) {
      watch = new OomWatch(cgroup, tell);
      watch.start();
      expect(watch.look()).toBe(false);
    }
  });
});
