import { readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MNT, umount } from '#common/native/index.ts';

/**
 * Removes a demo's private directory and whatever is left of what ran in it: after a run that went well nothing is,
 * after a failure processes and mounts may be. Answers what it found, as text for people.
 */
export async function sweep(dir: string): Promise<string[]> {
  const found: string[] = [];
  const processes = processesOf(dir);
  const cgroups = new Set(processes.flatMap(({ pid }) => cgroupsOf(pid)));
  for (const { pid, command } of processes) {
    found.push(`process ${pid} (${command})`);
    kill(pid);
  }
  await allGone(processes.map(({ pid }) => pid));
  for (const path of cgroups) removeCgroup(path);
  for (const point of mountsBelow(dir)) {
    found.push(`mount ${point}`);
    umount(point, MNT.DETACH);
  }
  await rm(dir, { recursive: true, force: true });
  return found;
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Processes that name the directory on their command line (shims do), and their descendants: the containers. */
function processesOf(dir: string): Process[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap(readProcess);
  const ours = new Set(all.filter(({ command }) => command.includes(dir)).map(({ pid }) => pid));
  for (let size = -1; size !== ours.size; ) {
    size = ours.size;
    for (const { pid, parent } of all) if (ours.has(parent)) ours.add(pid);
  }
  ours.delete(process.pid);
  return all.filter(({ pid }) => ours.has(pid));
}

function readProcess(name: string): Process[] {
  try {
    const status = readFileSync(`/proc/${name}/status`, 'utf8');
    const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return [{ pid: Number(name), parent: Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]), command }];
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

async function allGone(pids: readonly number[]): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    if (pids.every((pid) => readProcess(String(pid)).every(({ command }) => command === ''))) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Directories of a container's cgroups, in every hierarchy. Containers without a pod cgroup are in `/berth-ID`. */
function cgroupsOf(pid: number): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] ?? '');
  try {
    const paths = readFileSync(`/proc/${pid}/cgroup`, 'utf8').match(/\/berth-[0-9a-f]+$/gm) ?? [];
    return mounts.flatMap((mount) => paths.map((path) => join(mount, path)));
  } catch {
    return [];
  }
}

function removeCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Not a directory of this hierarchy, or gone.
  }
}

/** Innermost first. */
function mountsBelow(dir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll('\\040', ' '))
    .filter((point) => point.startsWith(`${dir}/`))
    .reverse();
}
