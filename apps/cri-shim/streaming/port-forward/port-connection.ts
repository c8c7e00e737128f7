import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { BerthError } from '#common/errors.ts';
import { connectLoopback } from '#common/native/index.ts';

/** Bytes of one read at most. */
const READ = 64 * 1024;

/** A connection to a port of a pod, forwarded once or closed. */
export class PortConnection {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Connects at 127.0.0.1 or else ::1; `netns` null: the host's network. @throws unavailable */
  static async open(netns: string | null, port: number): Promise<PortConnection> {
    try {
      return new PortConnection(await connectLoopback(netns, port));
    } catch (error) {
      throw BerthError.from(error, `connect to port ${port} of the pod`);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Copies both ways until both have ended; each end is passed on by itself. */
  async forward(fromClient: Readable, toClient: Writable): Promise<void> {
    const port = deliver(this.#fd, toClient);
    // Not by pipeline(), whose signal is aborted at the end of each, with an error that nobody sees.
    fromClient.pipe(port);
    try {
      await Promise.all([
        finished(fromClient, { writable: false }),
        finished(port),
        finished(toClient, { readable: false }),
      ]);
    } finally {
      port.destroy();
      fromClient.destroy();
      toClient.destroy();
    }
  }
}

/**
 * The connection, as something to write to: what comes from it goes to `toClient` by itself. It is read into buffers
 * that come back once they are sent: as a stream, Node would read into a fresh one each time, whose pages the kernel
 * has to clear, which costs more than the copying.
 */
function deliver(fd: number, toClient: Writable): Socket {
  const sent: Buffer[] = [];
  const socket = new Socket({
    fd,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    onread: {
      buffer: () => sent.pop() ?? Buffer.allocUnsafeSlow(READ),
      callback: (length, buffer) =>
        toClient.write(buffer.subarray(0, length), (error) => {
          if (error == null) sent.push(buffer as Buffer);
        }),
    },
  });
  toClient.on('drain', () => socket.resume());
  socket.once('end', () => toClient.end());
  return socket;
}
