import { finished } from 'node:stream/promises';
import type { WebSocket } from 'ws';
import { type RemoteStreams, SizeReader, statusMessage } from '../remote-command/remote-streams.ts';
import type { StreamChoice } from '../request.ts';
import { Channels } from './channels.ts';

const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

/** Versions of the protocol by the name of the subprotocol; none is the oldest. */
export const versions: Readonly<Record<string, number>> = {
  'v5.channel.k8s.io': 5,
  'v4.channel.k8s.io': 4,
  'v4.base64.channel.k8s.io': 4,
  'channel.k8s.io': 1,
  'base64.channel.k8s.io': 1,
  '': 1,
};

/** The streams of a command over one WebSocket. */
export function websocketStreams(socket: WebSocket, protocol: string, choice: StreamChoice): RemoteStreams {
  const version = versions[protocol] ?? 1;
  const channels = new Channels(socket, protocol.includes('base64'));
  const stdout = choice.stdout ? channels.writer(CHANNEL.stdout) : undefined;
  const stderr = choice.stderr ? channels.writer(CHANNEL.stderr) : undefined;
  for (const writer of [stdout, stderr]) writer?.on('error', () => undefined);
  // Clients wait for a first, empty message: it says that the connection stands.
  channels.send(choice.stdout ? CHANNEL.stdout : CHANNEL.error, Buffer.alloc(0));
  return {
    ...(choice.stdin && { stdin: channels.reader(CHANNEL.stdin) }),
    ...(stdout && { stdout }),
    ...(stderr && { stderr }),
    gone: channels.gone,
    onResize: (resized) => {
      if (!choice.tty) return;
      const reader = new SizeReader(resized);
      channels.reader(CHANNEL.resize).on('data', (chunk: Buffer) => reader.push(chunk));
    },
    finish: async (outcome) => {
      const outputs = [stdout, stderr].filter((writer) => writer !== undefined);
      for (const output of outputs) output.end();
      await Promise.allSettled(outputs.map((output) => finished(output)));
      const status = statusMessage(outcome, version);
      if (status !== '') channels.send(CHANNEL.error, Buffer.from(status));
      await channels.close();
    },
  };
}
