import { BerthError } from '#common/errors.ts';
import { nameOf } from '#common/native/files.ts';
import { close, pipe, readAll, spawn, writeAll } from '#common/native/index.ts';
import { leanEnvironment, readyMessage } from '#common/shim-serve.ts';
import type { CommandLine } from './command-line.ts';
import { isServed, shimSocket, socketFolder } from './socket-path.ts';
import { openNull } from './stdio.ts';

/**
 * `start`: makes the serving shim, a session of its own with no descriptor of the caller's, waits until it listens,
 * and prints its address. A shim that already serves this id is answered again.
 *
 * The caller reads stdout and stderr together: nothing but the answer may be printed.
 */
export function start(line: CommandLine): void {
  const socket = shimSocket(socketFolder(), line.address, line.namespace, line.id);
  const address = `unix://${socket}`;
  if (!isServed(socket)) {
    spawnServer(line, socket);
  }
  writeAll(1, Buffer.from(answer(address)));
}

function spawnServer(line: CommandLine, socket: string): void {
  const args = ['-namespace', line.namespace, '-id', line.id, '-address', line.address, '-socket', socket];
  if (line.debug) args.push('-debug');
  const env = Object.entries({ ...process.env, ...leanEnvironment }).map(([key, value]) => `${key}=${value}`);
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  try {
    spawn([process.execPath, ...args, 'serve'], env, null, [devNull, devNull, devNull, writeEnd], true);
  } catch (error) {
    close(readEnd);
    throw BerthError.from(error, `start ${nameOf(process.execPath)}`);
  } finally {
    close(writeEnd);
    close(devNull);
  }
  const said = readAll(readEnd).toString('utf8');
  close(readEnd);
  if (said !== readyMessage) throw new BerthError('internal', said || 'the shim ended before it was ready');
}

/** A daemon before containerd 2.0 takes a bare address only, a later one says which version it knows. */
function answer(address: string): string {
  if (Number(process.env.MAX_SHIM_VERSION ?? 0) < 3) return address;
  return JSON.stringify({ version: 3, address, protocol: 'ttrpc' });
}
