/**
 * A message of a stream in the form it travels in, for large ones that are made over and over: it is sent without a copy,
 * and its buffer can be used again afterwards. grpc-js copies every other message into a fresh buffer behind its prefix.
 * Fresh buffers of that size cost more than what is in them: the kernel clears their pages, and V8 looks through its whole
 * heap whenever some tens of MiB of them have come together.
 */
export class FramedMessage {
  /**
   * Bytes that gRPC puts before a message: whether it is compressed, then its length
   * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message).
   */
  static readonly prefixBytes = 5;

  readonly bytes: Buffer;
  readonly #onSent: () => void;

  /** @param bytes the prefix's place, then the encoded message; to be left alone until `onSent` is called, if ever */
  constructor(bytes: Buffer, onSent: () => void) {
    bytes[0] = 0;
    bytes.writeUInt32BE(bytes.length - FramedMessage.prefixBytes, 1);
    this.bytes = bytes;
    this.#onSent = onSent;
  }

  /** The encoded message. */
  get message(): Buffer {
    return this.bytes.subarray(FramedMessage.prefixBytes);
  }

  /** To be called when the kernel has the bytes; not at all when the call ends before. */
  sent(): void {
    this.#onSent();
  }
}
