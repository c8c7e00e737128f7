import { describe, expect, test } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';

describe('KeyedQueue', () => {
  test('runs tasks of one key in order, one at a time', async () => {
    const queue = new KeyedQueue();
    const seen: string[] = [];
    const task = (name: string) => async () => {
      seen.push(`${name}+`);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(`${name}-`);
      return name;
    };
    await expect(Promise.all([queue.run('k', task('a')), queue.run('k', task('b'))])).resolves.toEqual(['a', 'b']);
    expect(seen).toEqual(['a+', 'a-', 'b+', 'b-']);
  });

  test('runs tasks of different keys side by side', async () => {
    const queue = new KeyedQueue();
    const gate = Promise.withResolvers<void>();
    const first = queue.run('a', () => gate.promise);
    await queue.run('b', () => gate.resolve());
    await first;
  });

  test('goes on after a task has failed', async () => {
    const queue = new KeyedQueue();
    const failed = queue.run('k', () => Promise.reject(new Error('no')));
    await expect(queue.run('k', () => 'yes')).resolves.toBe('yes');
    await expect(failed).rejects.toThrow('no');
  });

  test('rejects a waiting task at once when its signal fires, and never runs it', async () => {
    const queue = new KeyedQueue();
    const gate = Promise.withResolvers<void>();
    const first = queue.run('k', () => gate.promise);
    const controller = new AbortController();
    let ran = false;
    const second = queue.run('k', () => (ran = true), { signal: controller.signal });
    controller.abort(new BerthError('deadline_exceeded', 'too late'));
    await expect(second).rejects.toMatchObject({ code: 'deadline_exceeded' });
    gate.resolve();
    await first;
    await queue.run('k', () => undefined);
    expect(ran).toBe(false);
  });

  test('keeps nothing of a key whose tasks are done', async () => {
    const queue = new KeyedQueue();
    await queue.run('k', () => undefined);
    await expect.poll(() => queue.size).toBe(0);
  });
});
