import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrno } from '#common/node-error.ts';

/** undefined when there is no such file, also where a cgroup or process vanishes under the open descriptor. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENODEV', 'ESRCH', 'EOPNOTSUPP')) return undefined;
    throw error;
  }
}

/** Files of one folder, in the order of their names. */
export async function readAllIfThere(folder: string, files: readonly string[]): Promise<(string | undefined)[]> {
  return await Promise.all(files.map((file) => readIfThere(join(folder, file))));
}

/** Lines of a key and a value. */
export function flatKeyed(text: string | undefined): Map<string, string> {
  return new Map(linesOf(text).map((line) => line.split(' ', 2) as [string, string]));
}

/** The values of a flat keyed file as fields of a message: `usage_usec` → `usageUsec`. */
export function counters(text: string | undefined): object {
  return Object.fromEntries([...flatKeyed(text)].map(([name, value]) => [camelCase(name), value]));
}

export function linesOf(text: string | undefined): string[] {
  return text === undefined || text === '' ? [] : text.split('\n');
}

export function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
