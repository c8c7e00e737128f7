import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** Writes, and waits when the reader is slower. */
export async function write(stream: Writable, data: Uint8Array | string): Promise<void> {
  if (!stream.write(data)) await once(stream, 'drain');
}
