import { execFileSync } from 'node:child_process';
import { rmdirSync } from 'node:fs';

/** Every cgroup of every hierarchy, as a path. */
export function cgroupDirs(): string[] {
  const listing = execFileSync('find', ['/sys/fs/cgroup', '-mindepth', '1', '-type', 'd', '-ignore_readdir_race'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return listing.trim().split('\n');
}

/** Removes the cgroups of that name, which runtimes leave to whoever chose it, with empty ones below. */
export function removeCgroups(name: string): void {
  const named = cgroupDirs().filter((path) => path.split('/').includes(name));
  // The listing has a folder before what is in it.
  for (const path of named.reverse()) rmdirSync(path);
}
