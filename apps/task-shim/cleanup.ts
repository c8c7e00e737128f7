import { messageOf } from '#common/errors.ts';
import { writeAll } from '#common/native/index.ts';
import { timestampNow } from '#common/timestamp.ts';
import { encode } from '#common/wire/codec.ts';
import { Bundle } from './bundle.ts';
import type { CommandLine } from './command-line.ts';
import { Reaper } from './reaper.ts';
import { unmountRootfs } from './rootfs.ts';
import { Runc } from './runc.ts';
import { isServed, shimSocket, socketFolder } from './socket-path.ts';

/** 128 + SIGKILL: how a container ends whose shim is gone. */
const killed = 137;

/**
 * `delete`: ends and removes the container of a shim that has died, and prints a binary DeleteResponse.
 * Each step is tried whatever became of those before; what failed goes to stderr, as warnings.
 */
export async function cleanUp(line: CommandLine): Promise<void> {
  const bundle = new Bundle(line.bundle || process.cwd());
  const attempt = async (what: string, step: () => Promise<void> | void): Promise<void> => {
    try {
      await step();
    } catch (error) {
      writeAll(2, Buffer.from(`${what}: ${messageOf(error)}\n`));
    }
  };
  // Read first: deleting the container doesn't remove it, but the daemon may be removing the bundle.
  const pid = bundle.readInitPid();
  await attempt('delete the container', async () => {
    const runtime = bundle.readRuntime();
    if (runtime === undefined) return;
    const reaper = new Reaper();
    reaper.start();
    await new Runc(runtime, bundle.path, reaper).delete(line.id, { force: true });
  });
  await attempt('unmount the root file system', () => unmountRootfs(bundle.rootfs));
  await attempt('remove a dead socket', () => {
    // A shim that serves other containers lives on, and so does its socket.
    const socket = shimSocket(socketFolder(), line.address, line.namespace, line.id);
    isServed(bundle.readAddress()?.replace(/^unix:\/\//, '') ?? socket);
  });
  writeAll(1, encode('containerd.task.v2.DeleteResponse', { pid, exitStatus: killed, exitedAt: timestampNow() }));
}
