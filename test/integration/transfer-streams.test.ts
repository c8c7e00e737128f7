import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { echoBytes } from '../support/transfers.ts';

const suite = useBerthd();

describe('a transfer from one stream to another', () => {
  it.each([0, 11, 1_000_000])('hands %i bytes on as they are', async (length) => {
    const bytes = randomBytes(length);
    expect(await echoBytes(suite.clients, bytes)).toEqual(bytes);
  });
});
