import { BerthError } from '#common/errors.ts';
import { type FileKind, kindOf } from '#common/native/files.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Process__Output } from '#proto/containerd/v1/types/Process.ts';
import { advised, type Session } from '../session.ts';
import { joined } from './foreground.ts';
import { ProcessIo } from './process-io.ts';

export interface AttachOptions {
  readonly detachKeys: Buffer;
}

/**
 * `berth tasks attach`: joins a running task with our standard streams; our exit code is its. The detach keys on a
 * terminal, or else Ctrl-C, leave it running.
 */
export async function attachToTask(session: Session, containerId: string, options: AttachOptions): Promise<void> {
  const { core, namespace } = session;
  const task = await taskOf(session, containerId);
  if (task.status === 'STOPPED') {
    throw new BerthError('failed_precondition', `task "${containerId}" has ended with ${task.exitStatus}`);
  }
  const { stdin, stdout, stderr, terminal } = task;
  for (const uri of [stdin, stdout, stderr]) if (uri !== '') requireFifo(containerId, uri);
  if (stdout === '') {
    const why = 'has no output to attach to: it was started without';
    throw new BerthError('failed_precondition', `task "${containerId}" ${why}`);
  }
  await using io = ProcessIo.join({ stdin, stdout, stderr, terminal });
  const name = { containerId, execId: '' };
  const over = new AbortController();
  const exit = core.tasks.wait(name, { namespace, signal: AbortSignal.any([session.signal, over.signal]) });
  exit.catch(() => undefined);
  try {
    const ended = await joined(session, name, io, exit, options.detachKeys);
    if (ended === 'detached') session.print(() => `detached from ${containerId}`, { detached: containerId });
    else process.exitCode = ended;
  } catch (error) {
    io.keep();
    throw error;
  } finally {
    over.abort();
  }
}

/** @throws not_found */
export async function taskOf(session: Session, containerId: string): Promise<Process__Output> {
  const { process: task } = await advised(session.core.tasks.get({ containerId }, session), {
    not_found: 'see "berth tasks list"',
  });
  if (task === null) throw new BerthError('internal', `task "${containerId}": the daemon answers without it`);
  return task;
}

/** What a path of a task's stream leads to; 'other' for a URI of another scheme than file. */
export function streamKind(uri: string): FileKind | 'missing' {
  const path = streamPath(uri);
  if (path === undefined) return 'other';
  try {
    return kindOf(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return 'missing';
    throw BerthError.from(error, path);
  }
}

/** undefined for what isn't read at a path, such as `binary://`. */
export function streamPath(uri: string): string | undefined {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(uri)?.[1];
  if (scheme === undefined) return uri;
  return scheme === 'file' || scheme === 'fifo' ? decodeURIComponent(new URL(uri).pathname) : undefined;
}

function requireFifo(id: string, uri: string): void {
  const kind = streamKind(uri);
  if (kind === 'fifo') return;
  const fix = kind === 'file' ? `; see "berth tasks logs ${id}"` : '';
  throw new BerthError(
    'failed_precondition',
    `the streams of task "${id}" can't be attached to: ${uri} is no FIFO${fix}`,
  );
}
