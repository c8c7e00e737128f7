import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import type { Interception } from './fake-registry.ts';

/** Bytes that are somewhere, or made as they are asked for. */
export interface ServedBlob {
  readonly digest: string;
  readonly size: number;
  readonly read: (start: number, end: number) => Buffer;
}

const PIECE = 64 * 1024;

/** Serves blobs in small pieces, and counts what has gone out of each. */
export class PacedBlobs {
  /** Bytes sent, by digest. */
  readonly sent = new Map<string, number>();
  readonly #blobs: ReadonlyMap<string, ServedBlob>;
  /** Told after each piece. */
  onPiece: (total: number) => void = () => {};
  #total = 0;

  constructor(blobs: readonly ServedBlob[]) {
    this.#blobs = new Map(blobs.map((blob) => [blob.digest, blob]));
  }

  reset(): void {
    this.sent.clear();
    this.#total = 0;
    this.onPiece = () => {};
  }

  readonly intercept: Interception = (request, response) => {
    const blob = this.#blobs.get(request.url?.split('?')[0]?.split('/').at(-1) ?? '');
    if (blob === undefined || request.method !== 'GET') return false;
    void this.#send(blob, request, response);
    return true;
  };

  async #send({ digest, size, read }: ServedBlob, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, from, to] = /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '') ?? [];
    const start = Number(from ?? 0);
    const end = to === undefined || to === '' ? size : Number(to) + 1;
    response.writeHead(from === undefined ? 200 : 206, {
      'content-length': end - start,
      ...(from === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
    });
    const closed = once(response, 'close');
    for (let at = start; at < end && !response.destroyed; at += PIECE) {
      const piece = read(at, Math.min(end, at + PIECE));
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), closed]);
      this.sent.set(digest, (this.sent.get(digest) ?? 0) + piece.length);
      this.#total += piece.length;
      this.onPiece(this.#total);
      await turn();
    }
    response.end();
  }
}
