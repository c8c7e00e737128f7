import { close, EPOLL, recv, send, unixAccept, unixConnect, unixListen } from '../native/index.ts';
import { poller } from '../native/poller.ts';
import type { StreamEvents, StreamSocket, UnixSockets } from './socket.ts';

/** What one read takes; shared, because a chunk is copied to its own size before anybody sees it. */
const scratch = Buffer.allocUnsafeSlow(16 * 1024);

class NativeSocket implements StreamSocket {
  readonly #fd: number;
  readonly #waiting: Uint8Array[] = [];
  #events: StreamEvents | undefined;
  #ending = false;
  #open = true;

  constructor(fd: number) {
    this.#fd = fd;
  }

  observe(events: StreamEvents): void {
    this.#events = events;
    poller.add(this.#fd, EPOLL.IN, () => this.#ready());
  }

  write(bytes: Uint8Array): void {
    if (!this.#open || this.#ending) return;
    this.#waiting.push(bytes);
    if (this.#waiting.length === 1) this.#flush();
  }

  end(): void {
    this.#ending = true;
    if (this.#waiting.length === 0) this.destroy();
  }

  destroy(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#waiting.length = 0;
    poller.remove(this.#fd);
    close(this.#fd);
    queueMicrotask(() => this.#events?.closed());
  }

  #ready(): void {
    this.#flush();
    if (!this.#open) return;
    const length = this.#attempt(() => recv(this.#fd, scratch));
    if (length === 0) this.destroy();
    else if (length !== undefined && length > 0) this.#events?.data(Buffer.from(scratch.subarray(0, length)));
    this.#arm();
  }

  #flush(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const bytes = next;
      const taken = this.#attempt(() => send(this.#fd, bytes));
      if (taken === undefined) return;
      if (taken < bytes.length) {
        if (taken > 0) this.#waiting[0] = bytes.subarray(taken);
        this.#arm();
        return;
      }
      this.#waiting.shift();
    }
    if (this.#ending) this.destroy();
  }

  /** undefined when the connection is broken, and then it is closed. */
  #attempt(call: () => number): number | undefined {
    try {
      return call();
    } catch {
      this.destroy();
      return undefined;
    }
  }

  #arm(): void {
    if (this.#open) poller.arm(this.#fd, EPOLL.IN | (this.#waiting.length > 0 ? EPOLL.OUT : 0));
  }
}

/** Sockets on the addon alone: an idle process is never woken, and nothing of node:net is loaded. */
class NativeSockets implements UnixSockets {
  async connect(path: string, events: StreamEvents): Promise<StreamSocket> {
    const socket = new NativeSocket(unixConnect(path));
    socket.observe(events);
    return socket;
  }

  async listen(path: string, accept: (socket: StreamSocket) => StreamEvents): Promise<{ close(): void }> {
    const fd = unixListen(path, 0o600);
    poller.add(fd, EPOLL.IN, () => {
      for (let connection = unixAccept(fd); connection !== null; connection = unixAccept(fd)) {
        const socket = new NativeSocket(connection);
        socket.observe(accept(socket));
      }
      poller.arm(fd, EPOLL.IN);
    });
    return {
      close: () => {
        poller.remove(fd);
        close(fd);
      },
    };
  }
}

export const sockets: UnixSockets = new NativeSockets();
