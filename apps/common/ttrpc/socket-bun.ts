import type { StreamEvents, StreamSocket, UnixSockets } from './socket.ts';

/** The part of Bun's own socket API that is used (https://bun.com/docs/api/tcp). */
interface BunSocket {
  data: BunStream;
  /** Bytes taken; -1 when the socket is closed. */
  write(bytes: Uint8Array): number;
  end(): void;
  terminate(): void;
}

interface BunHandlers {
  open(socket: BunSocket): void;
  data(socket: BunSocket, chunk: Uint8Array): void;
  drain(socket: BunSocket): void;
  close(socket: BunSocket): void;
  error(socket: BunSocket, error: Error): void;
}

declare const Bun: {
  listen(options: { unix: string; socket: BunHandlers }): { stop(closeConnections?: boolean): void };
  connect(options: { unix: string; socket: BunHandlers }): Promise<unknown>;
};

/** Keeps what the kernel doesn't take at once. */
class BunStream implements StreamSocket {
  readonly #socket: BunSocket;
  readonly #waiting: Uint8Array[] = [];
  #ending = false;
  #closed = false;
  events: StreamEvents | undefined;

  constructor(socket: BunSocket) {
    this.#socket = socket;
  }

  write(bytes: Uint8Array): void {
    if (this.#closed || this.#ending) return;
    this.#waiting.push(bytes);
    this.flush();
  }

  end(): void {
    this.#ending = true;
    this.flush();
  }

  destroy(): void {
    if (!this.#closed) this.#socket.terminate();
  }

  flush(): void {
    for (let next = this.#waiting[0]; next !== undefined && !this.#closed; next = this.#waiting[0]) {
      const taken = this.#socket.write(next);
      if (taken < next.length) {
        if (taken > 0) this.#waiting[0] = next.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
    if (this.#ending && !this.#closed) this.#socket.end();
  }

  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting.length = 0;
    this.events?.closed();
  }
}

function handlers(opened: (stream: BunStream) => StreamEvents): BunHandlers {
  return {
    open: (socket) => {
      socket.data = new BunStream(socket);
      socket.data.events = opened(socket.data);
    },
    data: (socket, chunk) => socket.data.events?.data(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)),
    drain: (socket) => socket.data.flush(),
    close: (socket) => socket.data?.closed(),
    error: (socket) => socket.data?.closed(),
  };
}

export const sockets: UnixSockets = {
  connect(path, events) {
    return new Promise((resolve, reject) => {
      const socket = handlers((stream) => {
        resolve(stream);
        return events;
      });
      Bun.connect({ unix: path, socket }).catch(reject);
    });
  },

  async listen(path, accept) {
    const listener = Bun.listen({ unix: path, socket: handlers(accept) });
    return { close: () => listener.stop() };
  },
};
