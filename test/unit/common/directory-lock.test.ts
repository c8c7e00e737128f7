import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockDirectory } from '#common/directory-lock.ts';

let base: string;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'berth-lock-'));
});

afterEach(() => rm(base, { recursive: true, force: true }));

test('a directory is made, held by one at a time, and free again afterwards', () => {
  const directory = join(base, 'a', 'root');
  {
    using _held = lockDirectory('root', directory);
    expect(() => lockDirectory('root', directory)).toThrow(
      expect.objectContaining({ code: 'failed_precondition', message: expect.stringContaining(directory) }),
    );
  }
  lockDirectory('root', directory)[Symbol.dispose]();
});

test('a directory that cannot be made is named, with what the configuration calls it', async () => {
  await writeFile(join(base, 'file'), '');
  expect(() => lockDirectory('state', join(base, 'file', 'state'))).toThrow(
    /^state directory .*file\/state is unusable/,
  );
});
