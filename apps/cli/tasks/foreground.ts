import { constants } from 'node:os';
import { isCode } from '#common/errors.ts';
import type { Session } from '../session.ts';
import type { ProcessIo } from './process-io.ts';

/** A process that has been told to end is killed after this time. */
const stopMs = 5000;

export interface ProcessName {
  readonly containerId: string;
  /** Empty: the container's own process. */
  readonly execId: string;
}

/**
 * Starts a process that has been made, joins it with our standard streams and waits for its end; answers its exit
 * code. When this command is stopped, so is the process. With `detachKeys` on a terminal the process can be left:
 * then the answer is 'detached', and its streams are kept.
 */
export async function runForeground(
  session: Session,
  name: ProcessName,
  io: ProcessIo,
  detachKeys?: Buffer,
): Promise<number | 'detached'> {
  const { core, namespace, signal } = session;
  const call = { namespace };
  const over = new AbortController();
  // Before the start, so that a short life isn't missed; stopping this command doesn't end the wait.
  const exit = core.tasks.wait(name, { namespace, signal: over.signal });
  exit.catch(() => undefined);
  await core.tasks.start(name, session);
  let timer: NodeJS.Timeout | undefined;
  const kill = (number: number) => {
    core.tasks.kill({ ...name, signal: number }, call).catch((error: unknown) => {
      if (!isCode(error, 'not_found', 'failed_precondition')) process.stderr.write(`berth: ${error}\n`);
    });
  };
  const stop = () => {
    kill(constants.signals.SIGTERM);
    timer = setTimeout(() => kill(constants.signals.SIGKILL), stopMs);
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await joined(session, name, io, exit, detachKeys);
  } finally {
    // A process that was left goes on: nobody waits for it any more.
    over.abort();
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

/** Joins a running process with our standard streams until it ends or the keys are pressed. */
export async function joined(
  { core, namespace }: Session,
  name: ProcessName,
  io: ProcessIo,
  exit: Promise<{ readonly exitStatus: number }>,
  detachKeys?: Buffer,
): Promise<number | 'detached'> {
  const call = { namespace };
  const { promise: detached, resolve } = Promise.withResolvers<'detached'>();
  const detach = detachKeys && { keys: detachKeys, pressed: () => resolve('detached') };
  io.connectInput(() => core.tasks.closeIO({ ...name, stdin: true }, call), detach);
  io.onResize((size) => core.tasks.resizePty({ ...name, ...size }, call));
  const ended = await Promise.race([exit, detached]);
  if (ended === 'detached') {
    io.keep();
    return ended;
  }
  await io.drained();
  return ended.exitStatus;
}
