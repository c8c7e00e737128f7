import type { StreamEvents, StreamSocket } from '#common/ttrpc/socket.ts';

/** Logical connections between runtime and plugin (containerd/nri, pkg/net/multiplex). */
export const logical = { plugin: 1, runtime: 2 } as const;

/** u32 connection | u32 length of the data | data, big endian. */
const headerLength = 8;
/** What the peers in Go read at a time: they refuse data that doesn't fit into their buffer. */
const maxSent = 4096;
/** The longest ttrpc frame, which a peer may send as one. */
const maxPayload = 10 + (4 << 20);

/** Several connections over one. A peer that breaks the framing is cut off. */
export class Multiplexer {
  readonly #trunk: StreamSocket;
  readonly #connections = new Map<number, StreamEvents>();
  #received: Buffer = Buffer.alloc(0);
  #closed = false;

  constructor(trunk: StreamSocket) {
    this.#trunk = trunk;
  }

  /** What the trunk's listener calls. */
  readonly events: StreamEvents = {
    data: (chunk) => this.#receive(chunk),
    closed: () => this.#shut(),
  };

  /** Opens a connection; data for one that isn't open is thrown away. */
  open(id: number, listen: (socket: StreamSocket) => StreamEvents): StreamSocket {
    const close = () => this.close();
    const socket: StreamSocket = { write: (bytes) => this.#send(id, bytes), end: close, destroy: close };
    this.#connections.set(id, listen(socket));
    return socket;
  }

  close(): void {
    this.#trunk.destroy();
    this.#shut();
  }

  #send(id: number, bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += maxSent) {
      const part = bytes.subarray(start, start + maxSent);
      const header = Buffer.allocUnsafe(headerLength);
      header.writeUInt32BE(id, 0);
      header.writeUInt32BE(part.length, 4);
      this.#trunk.write(Buffer.concat([header, part]));
    }
  }

  #receive(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= headerLength) {
      const length = this.#received.readUInt32BE(4);
      if (length > maxPayload) {
        this.close();
        return;
      }
      if (this.#received.length < headerLength + length) return;
      const id = this.#received.readUInt32BE(0);
      const data = this.#received.subarray(headerLength, headerLength + length);
      this.#received = this.#received.subarray(headerLength + length);
      this.#connections.get(id)?.data(data);
    }
  }

  #shut(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { closed } of this.#connections.values()) closed();
    this.#connections.clear();
  }
}
