import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupDirs } from './cgroups.ts';
import { mountPointsIn } from './scratch.ts';

/** What belongs to a test, on a machine where others are at work. */
export interface LeakScope {
  /** Scratch folder: everything below it, and every process that names it. */
  readonly dir: string;
  /** Unique words in cgroup paths and command lines: containerd namespaces, pod cgroups. */
  readonly names?: readonly string[];
  /** Bridges whose ports count. */
  readonly bridges?: readonly string[];
}

/** Everything a runtime can leave behind, by kind; process ids are left out, since daemons are restarted. */
export interface LeakSnapshot {
  /** Mount points, network namespaces pinned on a path among them. */
  readonly mounts: readonly string[];
  /** Command lines of shims, OCI runtimes and containers. */
  readonly processes: readonly string[];
  readonly cgroups: readonly string[];
  readonly sockets: readonly string[];
  readonly fifos: readonly string[];
  /** Addresses that host-local has given away. */
  readonly addresses: readonly string[];
  /** Ports of the bridges. */
  readonly links: readonly string[];
  /** Bundles of tasks. */
  readonly bundles: readonly string[];
}

export function leakSnapshot(scope: LeakScope): LeakSnapshot {
  const words = [scope.dir, ...(scope.names ?? [])];
  const files = walk(scope.dir);
  const kind = (type: FileKind): string[] => files.filter((file) => file.kind === type).map(({ path }) => path);
  return {
    mounts: mountPointsIn(scope.dir).sort(),
    processes: processes(words),
    cgroups: cgroups(scope.names ?? []),
    sockets: kind('socket'),
    fifos: kind('fifo'),
    addresses: kind('file').filter((path) => isIP(path.slice(path.lastIndexOf('/') + 1)) !== 0),
    links: (scope.bridges ?? []).flatMap(bridgePorts),
    bundles: globSync('**/io.containerd.runtime.v2.task/*/*', { cwd: scope.dir }).sort(),
  };
}

/**
 * Fails when there is more than in `before`; gives what is on its way out a few seconds to go. What was on its way out
 * at the time of `before` may be gone.
 */
export async function expectNoLeaks(scope: LeakScope, before: LeakSnapshot): Promise<void> {
  const end = performance.now() + 5000;
  for (;;) {
    const leaks = moreThan(before, leakSnapshot(scope));
    if (Object.keys(leaks).length === 0) return;
    if (performance.now() > end) assert.deepEqual(leaks, {}, `left behind: ${JSON.stringify(leaks, undefined, 1)}`);
    await sleep(50);
  }
}

/** By kind, what `after` holds beyond `before`. */
function moreThan(before: LeakSnapshot, after: LeakSnapshot): Partial<Record<keyof LeakSnapshot, string[]>> {
  const kinds = Object.keys(after) as (keyof LeakSnapshot)[];
  const more = kinds.map((kind) => {
    const known = [...before[kind]];
    // Equal entries (processes with the same command line) count one by one.
    const added = after[kind].filter((entry) => {
      const index = known.indexOf(entry);
      if (index !== -1) known.splice(index, 1);
      return index === -1;
    });
    return [kind, added] as const;
  });
  return Object.fromEntries(more.filter(([, added]) => added.length > 0));
}

type FileKind = 'socket' | 'fifo' | 'file';

function walk(dir: string): { kind: FileKind; path: string }[] {
  const found: { kind: FileKind; path: string }[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        // Root filesystems hold what their images hold.
        if (entry.name !== 'rootfs' && entry.name !== 'snapshots' && entry.name !== 'blobs') visit(path);
      } else if (entry.isSocket()) found.push({ kind: 'socket', path });
      else if (entry.isFIFO()) found.push({ kind: 'fifo', path });
      else if (entry.isFile()) found.push({ kind: 'file', path });
    }
  };
  visit(dir);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function processes(words: readonly string[]): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const commandLine = readProc(pid, 'cmdline').replaceAll('\0', ' ').trim();
    const text = `${commandLine}\n${readProc(pid, 'cgroup')}`;
    if (words.some((word) => text.includes(word))) found.push(commandLine);
  }
  return found.sort();
}

export function readProc(pid: string | number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It has ended since the listing.
    return '';
  }
}

function cgroups(names: readonly string[]): string[] {
  const below = cgroupDirs().filter((path) =>
    path
      .split('/')
      .slice(0, -1)
      .some((part) => names.includes(part)),
  );
  return below.map((path) => relative('/sys/fs/cgroup', path)).sort();
}

function bridgePorts(bridge: string): string[] {
  try {
    return readdirSync(`/sys/class/net/${bridge}/brif`).sort();
  } catch {
    // A bridge that doesn't exist has no ports.
    return [];
  }
}
