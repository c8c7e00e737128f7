import { type Dirent, readdirSync } from 'node:fs';
import { hasErrno } from '#common/node-error.ts';

/** What a directory holds; nothing when it is gone. */
export function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
