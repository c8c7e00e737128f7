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
 * code. When this command is stopped, so is the process.
 */
export async function runForeground(session: Session, name: ProcessName, io: ProcessIo): Promise<number> {
  const { core, namespace, signal } = session;
  const call = { namespace };
  // Before the start, so that a short life isn't missed; stopping this command doesn't end the wait.
  const exit = core.tasks.wait(name, call);
  exit.catch(() => undefined);
  await core.tasks.start(name, session);
  io.connectInput(() => core.tasks.closeIO({ ...name, stdin: true }, call));
  io.onResize((size) => core.tasks.resizePty({ ...name, ...size }, call));
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
    const { exitStatus } = await exit;
    await io.drained();
    return exitStatus;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}
