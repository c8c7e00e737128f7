import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';

export interface FrameForm {
  /** RFC 6455, 5.2: 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong; the rest is reserved. */
  readonly opcode: number;
  readonly final?: boolean;
  /** A client's frames must be. */
  readonly masked?: boolean;
  /** The three reserved bits. */
  readonly reserved?: number;
  /** What the header says; the payload's own unless it is given. */
  readonly length?: bigint;
}

/** A frame byte by byte, right or wrong. The mask is zero, so that the payload stands as it is. */
export function frame(form: FrameForm, payload: Buffer | string = ''): Buffer {
  const { opcode, final = true, masked = true, reserved = 0 } = form;
  const body = Buffer.from(payload);
  const length = form.length ?? BigInt(body.length);
  const first = (final ? 0x80 : 0) | (reserved << 4) | opcode;
  const bit = masked ? 0x80 : 0;
  const head = Buffer.alloc(length < 126n ? 2 : length < 65_536n ? 4 : 10);
  head[0] = first;
  if (head.length === 2) head[1] = bit | Number(length);
  else if (head.length === 4) {
    head[1] = bit | 126;
    head.writeUInt16BE(Number(length), 2);
  } else {
    head[1] = bit | 127;
    head.writeBigUInt64BE(length, 2);
  }
  return Buffer.concat([head, ...(masked ? [Buffer.alloc(4)] : []), body]);
}

/** Upgrades to WebSocket and leaves the bytes after that to the test. */
export async function rawWebSocket(url: string, protocol: string): Promise<Socket> {
  const asked = request(url, {
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      'sec-websocket-protocol': protocol,
    },
  });
  asked.end();
  const [, socket] = (await once(asked, 'upgrade')) as [IncomingMessage, Socket];
  socket.on('error', () => undefined);
  return socket;
}
