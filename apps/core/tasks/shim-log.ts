import { constants } from 'node:fs';
import { Socket } from 'node:net';
import type { Logger } from '#common/log.ts';
import { open } from '#common/native/index.ts';

/** Bytes of one line that are kept; a shim that writes no newline can't grow our memory. */
const LINE_LIMIT = 16 * 1024;

/**
 * Reads a shim's log FIFO and forwards its lines to our log until it is closed.
 *
 * The descriptor is open for writing too: `start` and the server it leaves behind open the FIFO one after the other, and
 * between them there must be no end of file, and no moment in which a writer finds nobody listening.
 */
export class ShimLog {
  readonly #socket: Socket;
  readonly #log: Logger;
  #rest = '';

  constructor(fifo: string, log: Logger) {
    this.#log = log;
    const fd = open(fifo, constants.O_RDWR | constants.O_NONBLOCK, 0);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk.toString('utf8')));
    this.#socket.on('error', (error) => log.warn({ err: error }, 'reading the shim log'));
    this.#socket.unref();
  }

  close(): void {
    if (this.#rest !== '') this.#line(this.#rest);
    this.#rest = '';
    this.#socket.destroy();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = (lines.pop() ?? '').slice(0, LINE_LIMIT);
    for (const line of lines) this.#line(line.slice(0, LINE_LIMIT));
  }

  #line(line: string): void {
    if (line.trim() === '') return;
    this.#log[levelOf(line)]({ shim: line }, 'shim log');
  }
}

/**
 * Both logrus' text and JSON forms and pino's name their level the same way, but for quotes and colon. What a shim finds
 * worth an `info` is a detail to us.
 */
function levelOf(line: string): 'debug' | 'warn' | 'error' {
  const word = /\blevel"?[=:]\s*"?([a-z]+)/.exec(line)?.[1];
  switch (word) {
    case 'warning':
    case 'warn':
      return 'warn';
    case 'error':
    case 'fatal':
    case 'panic':
      return 'error';
    default:
      return 'debug';
  }
}
