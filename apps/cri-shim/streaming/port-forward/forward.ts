import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BerthError } from '#common/errors.ts';
import { connectLoopback } from '#common/native/index.ts';

/** Connects to a pod's port, at 127.0.0.1 or else ::1; `netns` null: the host's network. @throws unavailable */
export async function connectPort(netns: string | null, port: number): Promise<Socket> {
  try {
    const fd = await connectLoopback(netns, port);
    return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  } catch (error) {
    throw BerthError.from(error, `connect to port ${port} of the pod`);
  }
}

/** Copies both ways until both have ended; each end is passed on by itself. */
export async function forward(fromClient: Readable, toClient: Writable, port: Socket): Promise<void> {
  try {
    await Promise.all([pipeline(fromClient, port), pipeline(port, toClient)]);
  } finally {
    port.destroy();
    fromClient.destroy();
    toClient.destroy();
  }
}
