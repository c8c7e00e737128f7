import { BerthError, messageOf } from '#common/errors.ts';
import { folderOf, isThere, readText, removeFile, writeKernelFile } from '#common/native/files.ts';
import { close, getpid, prctlSubreaper, writeAll } from '#common/native/index.ts';
import { readyMessage } from '#common/shim-serve.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { Bundle } from './bundle.ts';
import type { CommandLine } from './command-line.ts';
import { EventForwarder } from './events.ts';
import { Forgotten } from './forgotten.ts';
import { ShimLog } from './log.ts';
import { MemorySaver, type MemorySaverOptions } from './memory.ts';
import { Reaper } from './reaper.ts';
import { TaskService } from './service.ts';
import { isServed } from './socket-path.ts';

/** How long undelivered events may hold up the end. */
const lastEventsMs = 2000;

/** The serving shim. Says on `readiness` that it listens, or what went wrong. Answers its log. */
export async function serve(line: CommandLine, readiness: number, options: MemorySaverOptions): Promise<ShimLog> {
  const log = new ShimLog(new Bundle(process.cwd()).log, { id: line.id, namespace: line.namespace }, line.debug);
  try {
    prctlSubreaper();
    raiseOomScore();
    await compose({ line, log, ...options, eventAddress: eventAddress(line), ended: () => process.exit(0) });
  } catch (error) {
    writeAll(readiness, Buffer.from(messageOf(error)));
    process.exit(1);
  }
  writeAll(readiness, Buffer.from(readyMessage));
  close(readiness);
  return log;
}

export interface ShimParts extends MemorySaverOptions {
  readonly line: CommandLine;
  readonly log: ShimLog;
  /** The daemon's socket for events. */
  readonly eventAddress: string;
  /** Nobody needs it any more: it listens no longer, nor is anything left of what it has set up in this process. */
  readonly ended: () => void;
}

/** Everything is made here, in the order in which it must be there. Settles when it listens. */
export async function compose({ line, log, isFork, eventAddress, ended }: ShimParts): Promise<void> {
  const undo = new DisposableStack();
  const on = (event: string, listener: (error?: unknown) => void): void => {
    process.on(event, listener);
    undo.defer(() => process.off(event, listener));
  };
  on('uncaughtException', (error) => log.warn('uncaught', error));
  on('unhandledRejection', (error) => log.warn('unhandled', error));
  const memory = undo.use(new MemorySaver({ isFork }));
  const reaper = undo.adopt(new Reaper(), (started) => started.stop());
  reaper.start();

  const { socket } = line;
  const bundle = new Bundle(process.cwd());
  const events = new EventForwarder(eventAddress, line.namespace, log);
  const server = new TtrpcServer({
    vacated: () => {
      forgotten.vacated();
      endIfAsked();
    },
  });
  let ending = false;
  const shutdown = async ({ now }: { now: boolean }): Promise<void> => {
    if (ending) return;
    ending = true;
    removeFile(socket);
    if (!now) await events.drain(lastEventsMs);
    await server.close({ graceMs: 200 });
    undo.dispose();
    ended();
  };
  let terminals = 0;
  const service = new TaskService(
    {
      namespace: line.namespace,
      socketPath: () => `${folderOf(socket)}/pty-${getpid()}-${++terminals}`,
      reaper,
      publish: events.publish,
      log,
    },
    {
      settled: () => {
        memory.settled();
        if (server.connections > 0) forgotten.changed();
        else forgotten.vacated();
        endIfAsked();
      },
      shutdown: (how) => void shutdown(how),
    },
  );
  const forgotten = undo.use(
    new Forgotten(
      {
        isAtRest: () => service.isAtRest,
        isHeld: () => server.connections > 0,
        canBeFound: () => service.bundles.some(isThere),
      },
      () => void shutdown({ now: false }),
    ),
  );
  service.register(server);
  if (isServed(socket)) throw new BerthError('already_exists', `a shim for ${line.id} listens on ${socket}`);
  await server.listen(socket);
  bundle.saveShimPid(getpid());
  bundle.saveAddress(`unix://${socket}`);
  forgotten.changed();

  /** A container is never given up for a signal; without one that runs, the exit is kept for the daemon while it is there. */
  let asked = false;
  const endIfAsked = (): void => {
    const isMissed = !service.isAtRest || (!service.isEmpty && server.connections > 0);
    if (asked && !isMissed) void shutdown({ now: false });
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    on(signal, () => {
      asked = true;
      endIfAsked();
    });
  }
  on('SIGHUP', () => undefined);
  on('SIGPIPE', () => undefined);
}

function eventAddress({ address }: CommandLine): string {
  const given = process.env.TTRPC_ADDRESS || (address === '' ? '' : `${address}.ttrpc`);
  return given.replace(/^unix:\/\//, '');
}

/** One more than the daemon's: under want of memory a shim goes before the daemon. Raising needs no capability. */
function raiseOomScore(): void {
  const path = '/proc/self/oom_score_adj';
  try {
    const own = Number(readText(path));
    writeKernelFile(path, String(Math.min(own + 1, 1000)));
  } catch (error) {
    throw BerthError.from(error, 'adjust the OOM score');
  }
}
