import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeAtomic } from '#common/atomic-file.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-atomic-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

test('replaces a file whole, with the mode asked for, and leaves nothing beside it', async () => {
  const path = join(directory, 'f');
  await writeAtomic(path, 'old');
  await writeAtomic(path, 'new', { mode: 0o644, fsync: true });
  expect(await readFile(path, 'utf8')).toBe('new');
  expect((await stat(path)).mode & 0o777).toBe(0o644);
  expect(await readdir(directory)).toEqual(['f']);
});

test('names the path when it fails, and leaves nothing behind', async () => {
  const path = join(directory, 'taken');
  await mkdir(join(path, 'inside'), { recursive: true });
  await expect(writeAtomic(path, 'x')).rejects.toMatchObject({
    name: 'BerthError',
    message: expect.stringContaining(path),
  });
  expect(await readdir(directory)).toEqual(['taken']);
});
