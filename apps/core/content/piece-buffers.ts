import { FramedMessage } from '#common/grpc/framed-message.ts';

/** Buffers that are kept when nobody uses them. */
const kept = 8;

/** Before the data of a piece: gRPC's prefix, then two tags, an offset and a length of ten bytes at most each. */
const headRoom = FramedMessage.prefixBytes + 2 * (1 + 10);

/** The buffers that pieces of blobs are read into and sent from, for all readers. */
export class PieceBuffers {
  /** Bytes of a blob per piece: few enough to stay in the processor's cache between reading and sending. */
  static readonly pieceBytes = 256 << 10;

  readonly #free: Buffer[] = [];

  /** A buffer for a piece and what is before it. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(headRoom + PieceBuffers.pieceBytes);
  }

  /** Nobody may use the buffer from then on. One that never comes back is collected. */
  giveBack(buffer: Buffer): void {
    if (this.#free.length < kept) this.#free.push(buffer);
  }
}
