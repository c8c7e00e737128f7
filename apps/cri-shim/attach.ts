import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { runningContainer } from './container-exec-sync.ts';
import { orStopped } from './exec/or-stopped.ts';
import { toClient } from './exec/to-client.ts';
import type { StreamName } from './logs/cri-lines.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';
import type { RemoteStreams, TerminalSize } from './streaming/remote-command/remote-streams.ts';

/**
 * Joins a client with the process of a container, beside any others and beside its log. Resolves when the container's
 * output has ended; for a client that takes none, also when it has nothing more to say. The container goes on when a
 * client leaves.
 *
 * @throws `not_found`; `failed_precondition` for a container that doesn't run; `canceled` when the client has left;
 * `resource_exhausted` for one that doesn't read
 */
export async function attach(rt: Runtime, containerId: string, client: RemoteStreams): Promise<void> {
  const container = runningContainer(rt, containerId);
  using undo = new DisposableStack();
  /** Resolves once nothing is missed any more, to when there is no more. */
  const follow = async (name: StreamName, target: Writable): Promise<{ readonly ended: Promise<void> }> => {
    const followed = await rt.logs.follow(container.id, name);
    // The client may have left meanwhile.
    if (undo.disposed) {
      followed[Symbol.dispose]();
      return { ended: Promise.resolve() };
    }
    undo.use(followed);
    toClient(followed.output, target);
    const ended = finished(followed.output, { writable: false });
    ended.catch(() => undefined);
    return { ended };
  };
  const { tty } = container.metadata.config;
  const following: ReturnType<typeof follow>[] = [];
  if (client.stdout !== undefined) following.push(follow('stdout', client.stdout));
  if (client.stderr !== undefined && !tty) following.push(follow('stderr', client.stderr));
  const followed = Promise.all(following);
  // What the container answers to the client's first words is for this client.
  const { stdin } = client;
  const said = stdin === undefined ? undefined : followed.then(() => feed(rt, container, stdin, undo));
  said?.catch((error: unknown) => rt.log.warn({ id: container.id, err: error }, 'could not bring stdin to an end'));
  if (tty) client.onResize((size) => void resize(rt, container, size));
  const ended: Promise<unknown> =
    following.length > 0
      ? followed.then((outputs) => Promise.all(outputs.map((output) => output.ended)))
      : Promise.race([container.exited, said ?? container.exited]);
  ended.catch(() => undefined);
  await orStopped(ended, client.gone);
  if (client.gone.aborted) throw BerthError.from(client.gone.reason, `client of container ${container.id}`);
}

/** A container that has ended meanwhile is no error. */
async function resize(rt: Runtime, { id }: Container, size: TerminalSize): Promise<void> {
  try {
    await rt.core.resizeTerminal(id, size);
  } catch (error) {
    rt.log.debug({ id, err: error }, 'could not resize a terminal');
  }
}

/**
 * Brings what a client says to the container; resolves when it has said all. With `stdinOnce` the container's stdin ends
 * with it, as the CRI has it; a terminal stays open, as in containerd.
 */
async function feed(rt: Runtime, container: Container, stdin: Readable, undo: DisposableStack): Promise<void> {
  const { id } = container;
  const { tty, stdin: hasStdin, stdinOnce } = container.metadata.config;
  if (undo.disposed) return;
  const fd = hasStdin ? openInput(rt.stdio.stdinPath(id)) : undefined;
  if (fd === undefined) {
    stdin.resume();
    return new Promise((resolve) => stdin.once('close', () => resolve()));
  }
  const input = new Socket({ fd, readable: false, writable: true });
  undo.defer(() => input.destroy());
  // Of a container that reads no more.
  input.on('error', () => stdin.unpipe(input).resume());
  stdin.once('close', () => input.end());
  stdin.pipe(input);
  await new Promise<void>((resolve) => input.once('close', () => resolve()));
  if (stdinOnce && !tty) await rt.core.closeStdin(id);
}

/** Undefined when nobody will read it any more: the container's stdin was closed. */
function openInput(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasErrno(error, 'ENXIO', 'ENOENT')) return undefined;
    throw error;
  }
}
