import type { WebSocket } from 'ws';
import { messageOf } from '#common/errors.ts';
import { PortConnection } from '../port-forward/port-connection.ts';
import { Channels } from './channels.ts';

/** Subprotocol of a SPDY connection inside a WebSocket, as kubectl tunnels it. */
export const tunnelProtocol = 'SPDY/3.1+portforward.k8s.io';

/** Plain forms; none is binary. */
export const plainProtocols: readonly string[] = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', ''];

/**
 * The plain form: the n-th port has channel 2n for data and 2n+1 for a failure. The first message on each names the port
 * in two bytes, little-endian.
 */
export async function forwardChannels(
  socket: WebSocket,
  protocol: string,
  netns: () => string | null,
  ports: readonly number[],
): Promise<void> {
  const channels = new Channels(socket, protocol.includes('base64'));
  const pairs = ports.map((port, n) => {
    const named = Buffer.alloc(2);
    named.writeUInt16LE(port);
    channels.send(2 * n, named);
    channels.send(2 * n + 1, named);
    return { port, failure: 2 * n + 1, input: channels.reader(2 * n), output: channels.writer(2 * n) };
  });
  await Promise.all(
    pairs.map(async ({ port, failure, input, output }) => {
      for (const stream of [input, output]) stream.on('error', () => undefined);
      try {
        const connection = await PortConnection.open(netns(), port);
        await connection.forward(input, output);
      } catch (error) {
        channels.send(failure, Buffer.from(`error forwarding port ${port}: ${messageOf(error)}`));
      }
    }),
  );
  await channels.close();
}
