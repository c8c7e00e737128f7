import { BerthError } from '#common/errors.ts';
import { nameOf, readText } from '#common/native/files.ts';
import { close, fileMode, pipe, readAll, S, spawn, writeAll } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { shareVariable, shimGroupOf } from '#common/shim-group.ts';
import { leanEnvironment, readyMessage } from '#common/shim-serve.ts';
import { Bundle } from './bundle.ts';
import type { CommandLine } from './command-line.ts';
import { isServed, shimSocket, socketFolder } from './socket-path.ts';
import type { StartRequest } from './start-request.ts';
import { openNull } from './stdio.ts';

/**
 * `start`: makes the serving shim, a session of its own with no descriptor of the caller's, waits until it listens,
 * and prints its address. A shim that already serves this id, or its group where shims are shared, is answered again.
 *
 * The caller reads stdout and stderr together: nothing but the answer may be printed.
 */
export async function start(line: CommandLine): Promise<void> {
  const request = await readRequest(line);
  const folder = socketFolder(request?.socketFolder ?? '');
  const group = process.env[shareVariable] === '1' ? shimGroupOf(line.id, readText('config.json')) : line.id;
  const socket = shimSocket(folder, line.address, line.namespace, group);
  const address = `unix://${socket}`;
  if (isServed(socket)) {
    new Bundle(process.cwd()).saveAddress(address);
  } else {
    await spawnServer(line, socket, request);
  }
  writeAll(1, await answer(address, request));
}

async function spawnServer(line: CommandLine, socket: string, request: StartRequest | undefined): Promise<void> {
  const args = ['-namespace', line.namespace, '-id', line.id, '-address', line.address, '-socket', socket];
  if (request?.debug ?? line.debug) args.push('-debug');
  const events = request?.ttrpcAddress ? { TTRPC_ADDRESS: request.ttrpcAddress } : {};
  const env = Object.entries({ ...process.env, ...leanEnvironment, ...events }).map(
    ([key, value]) => `${key}=${value}`,
  );
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  let pid: number | undefined;
  try {
    pid = spawn([process.execPath, ...args, 'serve'], env, null, [devNull, devNull, devNull, writeEnd], true);
    if (request?.options != null) await moveToItsCgroup(pid, request.options);
  } catch (error) {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
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

async function moveToItsCgroup(pid: number, options: NonNullable<StartRequest['options']>): Promise<void> {
  const { moveToCgroup, shimCgroupOf } = await import('#common/cgroup/shim-cgroup.ts');
  const cgroup = shimCgroupOf(options);
  if (cgroup !== '') moveToCgroup(pid, cgroup);
}

/** undefined when the daemon says nothing. A terminal is never read. */
async function readRequest(line: CommandLine): Promise<StartRequest | undefined> {
  const stdin = isStream(0) ? readAll(0) : Buffer.alloc(0);
  if (stdin.length === 0) return undefined;
  const { parseStartRequest } = await import('./start-request.ts');
  return parseStartRequest(stdin, line);
}

function isStream(fd: number): boolean {
  try {
    return (fileMode(`/proc/self/fd/${fd}`) & S.IFMT) !== S.IFCHR;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/** A daemon before containerd 2.0 takes a bare address only, a later one says which version of the task API it knows. */
async function answer(address: string, request: StartRequest | undefined): Promise<Uint8Array> {
  if (request?.speaksBootstrap === true) return (await import('./start-request.ts')).bootstrapResult(address);
  if (Number(process.env.MAX_SHIM_VERSION ?? 0) < 3) return Buffer.from(address);
  return Buffer.from(JSON.stringify({ version: 3, address, protocol: 'ttrpc' }));
}
