import * as fs from 'node:fs';

/** JSON lines over two blocking descriptors: the child's side of the talk, which has nothing else to do meanwhile. */
export class LineChannel {
  readonly #input: number;
  readonly #output: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(input: number, output: number) {
    this.#input = input;
    this.#output = output;
  }

  /** The next line, undefined when the other side is gone. */
  receive(): unknown {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) {
        const line = this.#rest.toString('utf8', 0, end);
        this.#rest = this.#rest.subarray(end + 1);
        return JSON.parse(line);
      }
      const piece = Buffer.allocUnsafe(64 * 1024);
      const length = fs.readSync(this.#input, piece);
      if (length === 0) return undefined;
      this.#rest = Buffer.concat([this.#rest, piece.subarray(0, length)]);
    }
  }

  /** @throws EPIPE when the other side is gone. */
  send(message: unknown): void {
    const line = Buffer.from(`${JSON.stringify(message)}\n`);
    for (let at = 0; at < line.length; ) at += fs.writeSync(this.#output, line, at);
  }
}
