import { BerthError } from '#common/errors.ts';
import { close, pipe, readAll, spawn, writeAll } from '#common/native/index.ts';
import type { CommandLine } from './command-line.ts';
import { nameOf } from './files.ts';
import { isServed, shimSocket, socketFolder } from './socket-path.ts';
import { openNull } from './stdio.ts';

/** The serving shim's end of the pipe on which it says that it is ready, or what went wrong. */
export const readinessFd = 3;
export const ready = 'ready';

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

/**
 * Environment of the serving shim. Without the JIT an idle process keeps a megabyte less (options of JavaScriptCore
 * are read by Bun as BUN_JSC_…); Bun's timer for the garbage collector would wake it every second.
 */
const lean = ['BUN_JSC_useJIT=0', 'BUN_JSC_numberOfGCMarkers=1', 'BUN_JSC_useConcurrentGC=0', 'BUN_GC_TIMER_DISABLE=1'];

function spawnServer(line: CommandLine, socket: string): void {
  const args = ['-namespace', line.namespace, '-id', line.id, '-address', line.address, '-socket', socket];
  if (line.debug) args.push('-debug');
  const env = Object.entries(process.env).map(([key, value]) => `${key}=${value}`);
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  try {
    spawn([process.execPath, ...args, 'serve'], [...env, ...lean], null, [devNull, devNull, devNull, writeEnd], true);
  } catch (error) {
    close(readEnd);
    throw BerthError.from(error, `start ${nameOf(process.execPath)}`);
  } finally {
    close(writeEnd);
    close(devNull);
  }
  const said = readAll(readEnd).toString('utf8');
  close(readEnd);
  if (said !== ready) throw new BerthError('internal', said || 'the shim ended before it was ready');
}

/** A daemon before containerd 2.0 takes a bare address only, a later one says which version it knows. */
function answer(address: string): string {
  if (Number(process.env.MAX_SHIM_VERSION ?? 0) < 3) return address;
  return JSON.stringify({ version: 3, address, protocol: 'ttrpc' });
}
