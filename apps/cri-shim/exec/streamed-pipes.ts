import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { mkfifo } from '#common/native/index.ts';
import type { RemoteStreams } from '../streaming/remote-command/remote-streams.ts';
import type { ExecStdio } from './exec-process.ts';
import { toClient } from './to-client.ts';

/** The FIFOs of a command, joined with a client's streams; who is slow on one side holds up the other. */
export class StreamedPipes implements AsyncDisposable {
  readonly paths: ExecStdio;
  /** Resolves once the client has nothing more to say; never without stdin. */
  readonly stdinEnded: Promise<void>;
  readonly #sockets: Socket[] = [];
  readonly #outputs: Promise<void>[] = [];
  /** Keep the FIFOs from ending before the command has them. */
  readonly #holders: number[] = [];

  constructor(folder: string, client: RemoteStreams) {
    const { stdin, stdout, stderr } = client;
    const ended = Promise.withResolvers<void>();
    this.stdinEnded = ended.promise;
    const fifo = (name: string, wanted: object | undefined) => {
      if (wanted === undefined) return {};
      const path = join(folder, name);
      mkfifo(path, 0o600);
      return { [name]: path };
    };
    this.paths = { ...fifo('stdin', stdin), ...fifo('stdout', stdout), ...fifo('stderr', stderr) };
    const outputs = [
      [this.paths.stdout, stdout],
      [this.paths.stderr, stderr],
    ] as const;
    for (const [path, target] of outputs) {
      if (path === undefined || target === undefined) continue;
      const socket = this.#adopt(
        new Socket({ fd: openFifo(path, constants.O_RDONLY), readable: true, writable: false }),
      );
      this.#holders.push(openFifo(path, constants.O_WRONLY));
      this.#outputs.push(new Promise((resolve) => socket.once('close', () => resolve())));
      toClient(socket, target);
    }
    if (this.paths.stdin === undefined || stdin === undefined) return;
    // The reader holds what a client with little to say has written before the command comes.
    this.#holders.push(openFifo(this.paths.stdin, constants.O_RDONLY));
    const fd = openFifo(this.paths.stdin, constants.O_WRONLY);
    const input = this.#adopt(new Socket({ fd, readable: false, writable: true }));
    stdin.pipe(input);
    input.once('close', () => ended.resolve());
    stdin.once('close', () => input.end());
  }

  /** The command has its ends of the FIFOs, or never will. */
  started(): void {
    for (const fd of this.#holders.splice(0)) closeSync(fd);
  }

  /** Waits for the end of the output; `ms` after the last of it when something else holds it open. */
  async drained(ms: number): Promise<void> {
    const ended = Promise.all(this.#outputs).then(() => true);
    for (let seen = -1, read = this.#bytesRead; seen !== read || this.#isHeldUp; read = this.#bytesRead) {
      seen = read;
      if (await Promise.race([ended, sleep(ms, false, { ref: false })])) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.started();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#outputs);
  }

  get #bytesRead(): number {
    return this.#sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
  }

  /** The client is behind. */
  get #isHeldUp(): boolean {
    return this.#sockets.some((socket) => socket.readableLength > 0);
  }

  #adopt(socket: Socket): Socket {
    socket.on('error', () => undefined);
    this.#sockets.push(socket);
    return socket;
  }
}

function openFifo(path: string, flags: number): number {
  return openSync(path, flags | constants.O_NONBLOCK);
}
