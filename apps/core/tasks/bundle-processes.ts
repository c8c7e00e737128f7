import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process whose working directory is a bundle: a shim, its `start` or `delete`, or the OCI runtime at work. */
export interface BundleProcess {
  readonly pid: number;
  /** The working directory, with ` (deleted)` behind it once the folder is gone. */
  readonly cwd: string;
  readonly argv: readonly string[];
}

/** Every process that works in a folder below `tasksDir`, including removed ones. */
export async function processesBelow(tasksDir: string): Promise<BundleProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid): Promise<BundleProcess | undefined> => {
      try {
        const cwd = await readlink(`/proc/${pid}/cwd`);
        if (!cwd.startsWith(`${tasksDir}/`)) return undefined;
        // A shim that was forked has zeros behind its arguments.
        const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replace(/\0+$/, '');
        // A zombie has no command line and does nothing more.
        return line === '' ? undefined : { pid: Number(pid), cwd, argv: line.split('\0') };
      } catch {
        // It ended while we looked, or is a kernel thread.
        return undefined;
      }
    }),
  );
  return found.filter((one) => one !== undefined);
}

/** Whether it is the shim's server rather than one of its short-lived commands or the OCI runtime. */
export function isShimServer(process: BundleProcess, shimBinary: string): boolean {
  const action = process.argv.at(-1);
  return basename(process.argv[0] ?? '') === basename(shimBinary) && action !== 'start' && action !== 'delete';
}

/** Waits until the processes of the bundle are at rest: nothing but the shim's server. Answers the servers. */
export async function settledServers(
  bundlePath: string,
  shimBinary: string,
  timeoutMs: number,
): Promise<BundleProcess[]> {
  const deadline = performance.now() + timeoutMs;
  for (let pause = 10; ; pause = Math.min(pause * 2, 200)) {
    const processes = (await processesBelow(dirname(bundlePath))).filter(({ cwd }) => cwd === bundlePath);
    const servers = processes.filter((process) => isShimServer(process, shimBinary));
    if (servers.length === processes.length || performance.now() > deadline) return servers;
    await sleep(pause);
  }
}
