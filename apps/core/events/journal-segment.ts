import { decode } from '#common/wire/codec.ts';
import { encoded } from './encoded.ts';
import { envelopeOf } from './envelope.ts';
import type { Envelope } from './events.ts';

export const epochBytes = 8;
const headerBytes = epochBytes + 6;
const lengthBytes = 4;
const type = 'containerd.types.Envelope';

/**
 * A part of the journal, in memory as in its file: an epoch (8 bytes), the sequence number of its first event (6 bytes),
 * and events, each behind its length (4 bytes). They are kept as bytes, because an event as an object takes ten times
 * the room, with what it has come in.
 */
export class JournalSegment {
  readonly epoch: Buffer;
  /** Sequence number of its first event. */
  readonly first: number;
  #bytes: Buffer;
  #length: number;
  #count = 0;

  private constructor(bytes: Buffer, length: number) {
    this.#bytes = bytes;
    this.#length = length;
    this.epoch = Buffer.from(bytes.subarray(0, epochBytes));
    this.first = bytes.readUIntBE(epochBytes, 6);
  }

  static empty(epoch: Buffer, first: number): JournalSegment {
    const bytes = Buffer.alloc(headerBytes);
    epoch.copy(bytes);
    bytes.writeUIntBE(first, epochBytes, 6);
    return new JournalSegment(bytes, headerBytes);
  }

  /** What a file holds, as far as it is whole; undefined without a header. */
  static parse(bytes: Buffer): JournalSegment | undefined {
    if (bytes.length < headerBytes) return undefined;
    const segment = new JournalSegment(bytes, headerBytes);
    while (segment.#length + lengthBytes <= bytes.length) {
      const end = segment.#length + lengthBytes + bytes.readUInt32BE(segment.#length);
      // A daemon that was killed while it wrote told nobody of this one.
      if (end > bytes.length) break;
      segment.#length = end;
      segment.#count += 1;
    }
    return segment;
  }

  /** The bytes that are whole. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Sequence number behind its last event. */
  get end(): number {
    return this.first + this.#count;
  }

  /** Answers the bytes that its file lacks now. */
  append(envelope: Envelope): Buffer {
    const { message: event } = encoded(envelope);
    const start = this.#length;
    this.#length += lengthBytes + event.length;
    this.#makeRoom();
    this.#bytes.writeUInt32BE(event.length, start);
    this.#bytes.set(event, start + lengthBytes);
    this.#count += 1;
    return this.#bytes.subarray(start, this.#length);
  }

  /** Its events from a sequence number on. */
  from(sequence: number): Envelope[] {
    const found: Envelope[] = [];
    let at = headerBytes;
    for (let each = this.first; each < this.end; each += 1) {
      const begin = at + lengthBytes;
      at = begin + this.#bytes.readUInt32BE(at);
      if (each >= sequence) found.push(envelopeOf(decode(type, this.#bytes.subarray(begin, at))));
    }
    return found;
  }

  #makeRoom(): void {
    if (this.#length <= this.#bytes.length) return;
    const larger = Buffer.alloc(this.#length * 2);
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}
