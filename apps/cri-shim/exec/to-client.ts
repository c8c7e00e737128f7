import type { Readable, Writable } from 'node:stream';

/**
 * Sends output to a client, whose end is closed with the outcome, not with the output. When the client is gone, output
 * is still read, and dropped: nobody is held up.
 */
export function toClient(output: Readable, client: Writable): void {
  output.pipe(client, { end: false });
  client.once('close', () => output.unpipe(client).resume());
}
