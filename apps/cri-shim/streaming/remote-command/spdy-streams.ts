import { finished } from 'node:stream/promises';
import { BerthError } from '#common/errors.ts';
import type { StreamChoice } from '../request.ts';
import type { SpdySession } from '../spdy/session.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import { type Outcome, type RemoteStreams, SizeReader, statusMessage } from './remote-streams.ts';

/** Versions of the protocol by name, as clients list them in X-Stream-Protocol-Version. */
export const versions: Readonly<Record<string, number>> = {
  'v5.channel.k8s.io': 5,
  'v4.channel.k8s.io': 4,
  'v3.channel.k8s.io': 3,
  'v2.channel.k8s.io': 2,
  'channel.k8s.io': 1,
};

/** Collects the streams of one command on a SPDY connection. */
export class SpdyStreams {
  readonly #wanted: ReadonlySet<string>;
  readonly #version: number;
  readonly #streams = new Map<string, SpdyStream>();
  readonly #complete = Promise.withResolvers<void>();

  constructor(choice: StreamChoice, version: number) {
    this.#version = version;
    const names = ['error', choice.stdin && 'stdin', choice.stdout && 'stdout', choice.stderr && 'stderr'];
    if (choice.tty && version >= 3) names.push('resize');
    this.#wanted = new Set(names.filter((name) => typeof name === 'string'));
  }

  /** @throws invalid_argument for a stream that isn't wanted */
  add(stream: SpdyStream): void {
    const type = stream.headers.get('streamtype') ?? '';
    if (!this.#wanted.has(type) || this.#streams.has(type)) {
      throw new BerthError('invalid_argument', `a stream of type "${type}" wasn't asked for`);
    }
    this.#streams.set(type, stream);
    if (this.#streams.size === this.#wanted.size) this.#complete.resolve();
  }

  /** The command's streams, once all are there. @throws deadline_exceeded after `ms` */
  async gather(session: SpdySession, ms: number): Promise<RemoteStreams> {
    const timer = setTimeout(() => {
      this.#complete.reject(new BerthError('deadline_exceeded', `the client did not open its streams in ${ms} ms`));
    }, ms);
    const left = new AbortController();
    void session.ended.then(() => {
      left.abort(new BerthError('canceled', 'the client has left'));
      this.#complete.reject(left.signal.reason);
    });
    try {
      await this.#complete.promise;
    } finally {
      clearTimeout(timer);
    }
    const { stdin, stdout, stderr, error, resize } = Object.fromEntries(this.#streams);
    for (const stream of [stdout, stderr, error]) stream?.resume();
    // Our half of stdin stays open: its end tells Kubernetes' client that the command reads no more.
    return {
      ...(stdin && { stdin }),
      ...(stdout && { stdout }),
      ...(stderr && { stderr }),
      gone: left.signal,
      onResize: (resized) => {
        const reader = new SizeReader(resized);
        if (resize === undefined) return;
        resize.end();
        resize.on('data', (chunk: Buffer) => reader.push(chunk));
      },
      finish: async (outcome) => {
        await this.#finish(outcome, error);
        session.close();
      },
    };
  }

  async #finish(outcome: Outcome, error: SpdyStream | undefined): Promise<void> {
    const outputs = [...this.#streams.values()].filter((stream) => stream !== error);
    for (const stream of outputs) stream.end();
    error?.end(statusMessage(outcome, this.#version));
    await Promise.allSettled(
      [...outputs, error].map((stream) => stream && finished(stream, { readable: false, error: false })),
    );
  }
}
