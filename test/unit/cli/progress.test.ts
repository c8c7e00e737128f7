import { describe, expect, test } from 'vitest';
import { describeBlob, TransferProgress } from '../../../apps/cli/images/progress.ts';

const MiB = 1024 * 1024;

describe('the progress of a blob', () => {
  const message = (progress: number, event = 'downloading') => {
    return { event, name: 'layer-sha256:a', progress: String(progress), total: String(8 * MiB) };
  };

  test('has a rate once there are two figures', () => {
    let now = 0;
    const progress = new TransferProgress(() => now);
    expect(progress.add(message(0)).rate).toBe(0);
    now = 500;
    expect(progress.add(message(MiB)).rate).toBe(2 * MiB);
    expect(progress.get('layer-sha256:a')).toMatchObject({ done: MiB, total: 8 * MiB });
    expect(progress.get('layer-sha256:b')).toBeUndefined();
  });

  test('forgets how fast it was seconds ago', () => {
    let now = 0;
    const progress = new TransferProgress(() => now);
    progress.add(message(0));
    now = 1000;
    progress.add(message(4 * MiB));
    now = 3500;
    progress.add(message(4 * MiB));
    now = 4000;
    expect(progress.add(message(4 * MiB)).rate).toBe(0);
  });

  test('starts anew when the layer is unpacked', () => {
    let now = 0;
    const progress = new TransferProgress(() => now);
    progress.add(message(8 * MiB));
    now = 1000;
    expect(progress.add(message(MiB, 'extracting')).rate).toBe(0);
  });
});

describe('a line on a blob', () => {
  test('has a bar, bytes, rate and the time that is left', () => {
    expect(describeBlob({ event: 'downloading', done: 2 * MiB, total: 8 * MiB, rate: MiB })).toBe(
      '█████░░░░░░░░░░░░░░░  2.0 MiB/8.0 MiB  1.0 MiB/s  6s left',
    );
  });

  test('leaves out a time that nobody knows', () => {
    expect(describeBlob({ event: 'extracting', done: 0, total: 0, rate: 0 })).toBe(
      '░░░░░░░░░░░░░░░░░░░░  0 B/0 B  0 B/s  unpacking',
    );
  });

  test('is a word when nothing moves', () => {
    expect(describeBlob({ event: 'already exists', done: 0, total: 512, rate: 0 })).toBe('already exists, 512 B');
    expect(describeBlob({ event: 'waiting', done: 0, total: 0, rate: 0 })).toBe('waiting');
  });

  test('never has a bar beyond its end', () => {
    expect(describeBlob({ event: 'downloading', done: 9, total: 8, rate: 0 })).toMatch(/^█{20} {2}9 B/);
  });
});
