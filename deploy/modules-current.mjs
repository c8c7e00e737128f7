/**
 * Exits with 0 when node_modules holds what package-lock.json asks for, with 1 otherwise.
 * Plain JavaScript: it runs on the machine's own Node, before the pinned one is there.
 */
import { existsSync, readFileSync } from 'node:fs';

const read = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
const wanted = read('package-lock.json');
const installed = read('node_modules/.package-lock.json');

/** Optional packages may be for other systems, except for the two runtimes, which are named at the top. */
const needed = new Set(Object.keys(wanted[''].optionalDependencies ?? {}).map((name) => `node_modules/${name}`));

const isCurrent = ([path, { version, integrity, optional }]) => {
  const found = installed[path];
  if (found === undefined) return path === '' || (optional === true && !needed.has(path));
  return found.version === version && found.integrity === integrity && existsSync(path);
};

process.exit(Object.entries(wanted).every(isCurrent) ? 0 : 1);
