import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { BerthError, messageOf } from '#common/errors.ts';
import { attach } from '../attach.ts';
import { execSpec } from '../container-exec-sync.ts';
import type { Runtime } from '../runtime.ts';
import { podNetns } from '../sandbox-port-forward.ts';
import { refuse, switchToSpdy } from './handshake.ts';
import { SpdyPortForward } from './port-forward/spdy-port-forward.ts';
import type { Outcome, RemoteStreams } from './remote-command/remote-streams.ts';
import { SpdyStreams, versions as spdyVersions } from './remote-command/spdy-streams.ts';
import type { AttachRequest, CommandRequest, PortForwardRequest, StreamingRequest } from './request.ts';
import { SpdySession } from './spdy/session.ts';
import type { SpdyStream } from './spdy/stream.ts';
import { MAX_MESSAGE } from './websocket/channels.ts';
import { websocketStreams, versions as websocketVersions } from './websocket/websocket-command.ts';
import { forwardChannels, plainProtocols, tunnelProtocol } from './websocket/websocket-port-forward.ts';

/** Streams that belong together must come within this time. */
const CREATION_MS = 30_000;
/** For a client to take the rest of the output and the outcome. */
const FINISH_MS = 60_000;

/** Serves one upgraded connection to its end. */
export async function serveRequest(
  rt: Runtime,
  request: StreamingRequest,
  upgrade: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const kind = String(upgrade.headers.upgrade ?? '').toLowerCase();
  if (kind === 'websocket') return await serveWebSocket(rt, request, upgrade, socket, head);
  if (kind !== 'spdy/3.1') return refuse(socket, 400, `an upgrade to "${kind}": SPDY/3.1 and websocket are known`);
  const names = request.kind === 'portforward' ? ['portforward.k8s.io'] : Object.keys(spdyVersions);
  const agreed = switchToSpdy(upgrade, socket, names);
  if (agreed === undefined) return;
  if (head.length > 0) socket.unshift(head);
  if (request.kind === 'portforward') return await forwardOverSpdy(rt, request, socket);
  const streams = new SpdyStreams(request, spdyVersions[agreed.protocol] ?? 1);
  const session = openSession(rt, socket, streams);
  try {
    await runProcess(rt, request, await streams.gather(session, CREATION_MS));
  } finally {
    session.close();
  }
}

async function forwardOverSpdy(rt: Runtime, { sandboxId }: PortForwardRequest, socket: Duplex): Promise<void> {
  const ports = new SpdyPortForward(() => podNetns(rt, sandboxId), CREATION_MS);
  await openSession(rt, socket, ports).ended;
}

function openSession(rt: Runtime, socket: Duplex, streams: { add(stream: SpdyStream): void }): SpdySession {
  return new SpdySession(socket, {
    idleMs: rt.config.streaming.idleTimeout,
    onStream: (stream) => streams.add(stream),
  });
}

async function serveWebSocket(
  rt: Runtime,
  request: StreamingRequest,
  upgrade: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const known = request.kind === 'portforward' ? [tunnelProtocol, ...plainProtocols] : Object.keys(websocketVersions);
  const offered = String(upgrade.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim());
  const protocol = offered.find((name) => known.includes(name));
  if (protocol === undefined) {
    return refuse(socket, 403, `none of the subprotocols "${offered.join(', ')}" is supported`);
  }
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE, perMessageDeflate: false });
  // The library knows no "/" in the name of a subprotocol, which RFC 6455 doesn't allow and Kubernetes uses.
  delete upgrade.headers['sec-websocket-protocol'];
  if (protocol !== '') server.on('headers', (headers) => headers.push(`Sec-WebSocket-Protocol: ${protocol}`));
  const client = await new Promise<WebSocket>((resolve) => server.handleUpgrade(upgrade, socket, head, resolve));
  const idle = setTimeout(() => client.terminate(), rt.config.streaming.idleTimeout);
  socket.on('data', () => idle.refresh());
  client.once('close', () => clearTimeout(idle));
  if (request.kind !== 'portforward') {
    try {
      return await runProcess(rt, request, websocketStreams(client, protocol, request));
    } finally {
      client.terminate();
    }
  }
  if (protocol === tunnelProtocol) return await forwardOverSpdy(rt, request, createWebSocketStream(client));
  await forwardChannels(client, protocol, () => podNetns(rt, request.sandboxId), request.ports);
}

/** Whatever comes of it, the client is told, if it listens. */
async function runProcess(rt: Runtime, request: CommandRequest | AttachRequest, client: RemoteStreams): Promise<void> {
  const outcome = await outcomeOf(rt, request, client);
  await Promise.race([client.finish(outcome), sleep(FINISH_MS, undefined, { ref: false })]);
}

async function outcomeOf(
  rt: Runtime,
  request: CommandRequest | AttachRequest,
  client: RemoteStreams,
): Promise<Outcome> {
  const { containerId } = request;
  try {
    if (request.kind === 'exec') {
      const { command, tty } = request;
      return { exitCode: await rt.exec.stream(containerId, execSpec(rt, containerId), command, tty, client) };
    }
    await attach(rt, containerId, client);
    return { exitCode: 0 };
  } catch (error) {
    if (client.gone.aborted) throw BerthError.from(error);
    return { error: messageOf(error) };
  }
}
