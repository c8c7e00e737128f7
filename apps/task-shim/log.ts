import { messageOf } from '#common/errors.ts';
import { close, O, open, writeAll } from '#common/native/index.ts';

type Fields = Readonly<Record<string, string | number>>;

/**
 * Log lines in containerd's text format, into the FIFO that the daemon keeps in the bundle.
 * Never waits: without a reader, or with a full pipe, the line is dropped.
 */
export class ShimLog {
  readonly #path: string;
  readonly #fields: Fields;
  readonly #debug: boolean;

  constructor(path: string, fields: Fields, debug: boolean) {
    this.#path = path;
    this.#fields = fields;
    this.#debug = debug;
  }

  debug(message: string, fields: Fields = {}): void {
    if (this.#debug) this.#write('debug', message, fields);
  }

  info(message: string, fields: Fields = {}): void {
    this.#write('info', message, fields);
  }

  warn(message: string, error?: unknown, fields: Fields = {}): void {
    this.#write('warning', message, error === undefined ? fields : { ...fields, error: messageOf(error) });
  }

  #write(level: string, message: string, fields: Fields): void {
    const pairs = Object.entries({ time: new Date().toISOString(), level, msg: message, ...this.#fields, ...fields });
    const line = `${pairs.map(([key, value]) => `${key}=${quote(value)}`).join(' ')}\n`;
    try {
      const fd = open(this.#path, O.WRONLY | O.NONBLOCK, 0);
      try {
        writeAll(fd, Buffer.from(line));
      } finally {
        close(fd);
      }
    } catch {
      // ENXIO: no reader; ENOENT: the bundle is gone; EAGAIN: the reader is slow. A shim has nowhere else to say so.
    }
  }
}

function quote(value: string | number): string {
  return typeof value === 'string' && /[^\w./:-]/.test(value) ? JSON.stringify(value) : String(value);
}
