import { createConnection, createServer, type Socket } from 'node:net';
import type { StreamEvents, StreamSocket, UnixSockets } from './socket.ts';

export const sockets: UnixSockets = {
  connect(path, events) {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        observe(socket, events);
        resolve(streamOf(socket));
      });
    });
  },

  listen(path, accept) {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => observe(socket, accept(streamOf(socket))));
      server.once('error', reject);
      server.listen(path, () => {
        server.off('error', reject);
        resolve({ close: () => void server.close() });
      });
    });
  },
};

function observe(socket: Socket, events: StreamEvents): void {
  socket.on('data', (chunk: Buffer) => events.data(chunk));
  // Node reports an error before the close that follows it; there is nothing to add.
  socket.on('error', () => undefined);
  socket.on('close', () => events.closed());
}

function streamOf(socket: Socket): StreamSocket {
  return {
    write: (bytes) => {
      if (socket.writable) socket.write(bytes);
    },
    end: () => socket.destroySoon(),
    destroy: () => void socket.destroy(),
  };
}
