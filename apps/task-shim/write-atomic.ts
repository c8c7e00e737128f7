import { renameSync, writeFileSync } from 'node:fs';

/** Replaces a small file of volatile state in one step, readable by root alone. */
export function writeAtomicSync(path: string, text: string): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}
