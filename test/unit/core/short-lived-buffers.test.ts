import { expect, it } from 'vitest';
import { ShortLivedBuffers } from '../../../apps/core/diff/short-lived-buffers.ts';

const MIB = 1024 * 1024;

it('are let go each time that as much has come together as they may', () => {
  let times = 0;
  const buffers = new ShortLivedBuffers(8 * MIB, () => void times++);
  for (let piece = 0; piece < 15; piece++) buffers.used(MIB);
  expect(times).toBe(1);
  buffers.used(MIB);
  expect(times).toBe(2);
});
