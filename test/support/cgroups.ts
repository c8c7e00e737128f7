import { spawnSync } from 'node:child_process';
import { readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './wait-for.ts';

/** Every cgroup of every hierarchy, as a path. Others come and go meanwhile, of which find complains. */
export function cgroupDirs(): string[] {
  const { stdout } = spawnSync('find', ['/sys/fs/cgroup', '-mindepth', '1', '-type', 'd', '-ignore_readdir_race'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout.trim().split('\n');
}

/** Kills what still runs in the cgroups of that name. */
export async function killCgroups(name: string): Promise<void> {
  for (const path of named(name)) {
    const pids = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await waitFor(`${path} to be empty`, () => readFileSync(join(path, 'cgroup.procs'), 'utf8') === '');
  }
}

/** Removes the cgroups of that name, which runtimes leave to whoever chose it, with empty ones below. */
export function removeCgroups(name: string): void {
  // The listing has a folder before what is in it.
  for (const path of named(name).reverse()) rmdirSync(path);
}

function named(name: string): string[] {
  return cgroupDirs().filter((path) => path.split('/').includes(name));
}
