import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StreamSocket } from '../../../apps/common/ttrpc/socket.ts';
import { sockets as nativeSockets } from '../../../apps/common/ttrpc/socket-native.ts';
import { sockets as nodeSockets } from '../../../apps/common/ttrpc/socket-node.ts';
import { waitFor } from '../../support/wait-for.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-sockets-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** One end of a connection, with all that it was told. */
class End {
  socket: StreamSocket | undefined;
  received = Buffer.alloc(0);
  closed = 0;

  readonly events = {
    data: (chunk: Buffer): void => {
      this.received = Buffer.concat([this.received, chunk]);
    },
    closed: (): void => {
      this.closed++;
    },
  };
}

describe.each([
  ['node', nodeSockets],
  ['native', nativeSockets],
])('unix sockets on %s', (name, sockets) => {
  let count = 0;

  async function connected(): Promise<{ client: End; server: End; path: string; close: () => void }> {
    const path = join(dir, `${name}-${++count}`);
    const client = new End();
    const server = new End();
    const listener = await sockets.listen(path, (socket) => {
      server.socket = socket;
      return server.events;
    });
    client.socket = await sockets.connect(path, client.events);
    await waitFor('the connection', () => server.socket !== undefined);
    return { client, server, path, close: () => listener.close() };
  }

  it('carry bytes both ways, whole and in order', async () => {
    const { client, server, close } = await connected();
    const sent = Buffer.alloc(3_000_000, 'abcdefghij');
    client.socket?.write(sent.subarray(0, 5));
    client.socket?.write(sent.subarray(5));
    server.socket?.write(Buffer.from('answer'));
    await waitFor('all bytes', () => server.received.length === sent.length && client.received.length === 6);
    expect(server.received.equals(sent)).toBe(true);
    expect(client.received.toString()).toBe('answer');
    client.socket?.destroy();
    close();
  });

  it('tell both ends once that the connection is closed', async () => {
    const { client, server, close } = await connected();
    client.socket?.destroy();
    client.socket?.destroy();
    await waitFor('both to know', () => client.closed > 0 && server.closed > 0);
    server.socket?.write(Buffer.from('too late'));
    server.socket?.destroy();
    expect([client.closed, server.closed]).toEqual([1, 1]);
    close();
  });

  it('end after what was written has been taken', async () => {
    const { client, server, close } = await connected();
    const sent = Buffer.alloc(2_000_000, 1);
    server.socket?.write(sent);
    server.socket?.end();
    await waitFor('the end', () => client.closed > 0);
    expect(client.received.length).toBe(sent.length);
    await waitFor('the other end', () => server.closed > 0);
    close();
  });

  it('refuse a path where nobody listens, and one that is taken', async () => {
    await expect(sockets.connect(join(dir, 'nobody'), new End().events)).rejects.toMatchObject({ code: 'ENOENT' });
    const { path, client, close } = await connected();
    await expect(sockets.listen(path, () => new End().events)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    client.socket?.destroy();
    close();
  });

  it('keep their connections when the listener is closed', async () => {
    const { client, server, path, close } = await connected();
    close();
    await expect(sockets.connect(path, new End().events)).rejects.toMatchObject({
      code: expect.stringMatching(/ENOENT|ECONNREFUSED/) as string,
    });
    client.socket?.write(Buffer.from('still here'));
    await waitFor('the bytes', () => server.received.toString() === 'still here');
    client.socket?.destroy();
  });
});
