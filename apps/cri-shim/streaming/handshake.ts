import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { nodeHttp } from '#common/node-http.ts';

const PROTOCOL_HEADER = 'x-stream-protocol-version';

/** Answers an upgrade with an error and closes the connection. */
export function refuse(socket: Duplex, status: number, message: string, headers: readonly string[] = []): void {
  const lines = [
    `HTTP/1.1 ${status} ${nodeHttp.STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(message)}`,
    ...headers,
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${message}`);
}

/**
 * Agrees on a protocol that runs over SPDY and switches to it. A client that names none gets none, as Kubernetes does
 * it. undefined: refused.
 */
export function switchToSpdy(
  request: IncomingMessage,
  socket: Duplex,
  supported: readonly string[],
): { readonly protocol: string } | undefined {
  const offered = String(request.headers[PROTOCOL_HEADER] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  const protocol = offered.length === 0 ? '' : offered.find((name) => supported.includes(name));
  if (protocol === undefined) {
    const accepted = supported.map((name) => `X-Accepted-Stream-Protocol-Versions: ${name}`);
    refuse(socket, 403, `none of the protocols "${offered.join(', ')}" is supported`, accepted);
    return undefined;
  }
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: SPDY/3.1'];
  if (protocol !== '') lines.push(`X-Stream-Protocol-Version: ${protocol}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  return { protocol };
}
