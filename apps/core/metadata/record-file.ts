import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * What a record says, in a small file beside the files that it is about: should the database be lost, the record is made
 * of it again. The database is the truth, so nothing waits for these files to be on the disk.
 */
export function writeRecordFile(path: string, record: object): void {
  const unfinished = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    writeFileSync(unfinished, JSON.stringify(record), { mode: 0o600 });
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}

/** undefined when it is missing or says nothing: it was never finished, or lost in a power cut. */
export function readRecordFile(path: string): Record<string, unknown> | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof record === 'object' && record !== null ? (record as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
