import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { envelopeOf } from './envelope.ts';
import type { Envelope } from './events.ts';

/** An event with its place among all of them. */
export interface Entry {
  readonly sequence: number;
  readonly envelope: Envelope;
}

export interface JournalOptions {
  /** Private directory in the volatile state; made when missing. */
  readonly directory: string;
  /** Two segments of so many bytes are kept. */
  readonly segmentBytes?: number;
  /** Told when the journal can't be written; events go on without it. */
  readonly onFailure: (error: BerthError) => void;
}

interface Segment {
  readonly epoch: Buffer;
  /** Sequence number of its first event. */
  readonly first: number;
  readonly entries: Entry[];
  /** Bytes of it that are whole. */
  readonly length: number;
}

const type = 'containerd.types.Envelope';
/** Some 7,000 events. */
const defaultSegmentBytes = 2 << 20;
const epochBytes = 8;
const headerBytes = epochBytes + 6;

/**
 * The latest events, in memory and in files that outlive the daemon. A segment is an epoch (8 bytes), the sequence number
 * of its first event (6 bytes), and events, each behind its length (4 bytes). It is written before anybody hears of an
 * event, so that a cursor that a client has names an event that is there.
 */
export class EventJournal {
  readonly #options: JournalOptions;
  readonly #sequences = new WeakMap<Envelope, number>();
  #epoch: Buffer = randomBytes(epochBytes);
  #older: Entry[] = [];
  #newer: Entry[] = [];
  #last = 0;
  #fd: number | undefined;
  #written = 0;

  /** Reads what an earlier daemon left. */
  constructor(options: JournalOptions) {
    this.#options = options;
    try {
      const [older, newer] = ['older', 'newer'].map((name) => this.#read(name));
      // Of one whose newer segment is gone or damaged at its beginning nobody knows what is missing.
      if (newer !== undefined) {
        this.#epoch = newer.epoch;
        this.#older = older?.epoch.equals(newer.epoch) ? older.entries : [];
        this.#newer = newer.entries;
        this.#last = newer.first + newer.entries.length - 1;
        this.#written = newer.length;
        this.#fd = openSync(join(options.directory, 'newer'), 'a');
        ftruncateSync(this.#fd, newer.length);
      } else this.#turn();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Where a follower from now on begins. */
  get cursor(): string {
    return this.#cursorAt(this.#last);
  }

  /** The place of an event that was appended. */
  cursorOf(envelope: Envelope): string {
    return this.#cursorAt(this.#sequences.get(envelope) ?? this.#last);
  }

  append(envelope: Envelope): void {
    const entry = { sequence: ++this.#last, envelope };
    this.#sequences.set(envelope, entry.sequence);
    const bytes = encode(type, envelope);
    const frame = Buffer.alloc(4 + bytes.length);
    frame.writeUInt32BE(bytes.length);
    frame.set(bytes, 4);
    this.#newer.push(entry);
    this.#written += frame.length;
    try {
      if (this.#fd !== undefined) writeSync(this.#fd, frame);
      if (this.#written >= (this.#options.segmentBytes ?? defaultSegmentBytes)) this.#turn();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The events after a cursor. @throws out_of_range when some of them are no longer kept; invalid_argument */
  after(cursor: string): Envelope[] {
    const [, epoch, digits] = /^([0-9a-f]{16})-(\d{1,15})$/.exec(cursor) ?? [];
    if (epoch === undefined) throw new BerthError('invalid_argument', `"${cursor}" is no cursor of an event`);
    const sequence = Number(digits);
    const kept = [...this.#older, ...this.#newer];
    const first = kept[0]?.sequence ?? this.#last + 1;
    if (epoch !== this.#epoch.toString('hex') || sequence > this.#last || sequence < first - 1) {
      throw new BerthError('out_of_range', `events after ${cursor} are no longer kept: read the state anew`);
    }
    return kept.slice(sequence - first + 1).map(({ envelope }) => envelope);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #cursorAt(sequence: number): string {
    return `${this.#epoch.toString('hex')}-${sequence}`;
  }

  /** Begins a new segment; the one before the last is forgotten. */
  #turn(): void {
    const { directory } = this.#options;
    if (this.#newer.length > 0) {
      this.#older = this.#newer;
      this.#newer = [];
      renameIfThere(join(directory, 'newer'), join(directory, 'older'));
    }
    this.#written = 0;
    this.close();
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const header = Buffer.alloc(headerBytes);
    this.#epoch.copy(header);
    header.writeUIntBE(this.#last + 1, epochBytes, 6);
    const temporary = join(directory, 'next');
    this.#fd = openSync(temporary, 'w', 0o600);
    writeSync(this.#fd, header);
    renameSync(temporary, join(directory, 'newer'));
  }

  /** Without files the next daemon has a new epoch: no cursor of this one leads astray there. */
  #fail(error: unknown): void {
    const { directory, onFailure } = this.#options;
    onFailure(BerthError.from(error, `write the journal of events in ${directory}`));
    this.close();
    this.#written = 0;
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch (cause) {
      onFailure(BerthError.from(cause, `remove the journal of events in ${directory}`));
    }
  }

  #read(name: string): Segment | undefined {
    const bytes = readIfThere(join(this.#options.directory, name));
    if (bytes === undefined || bytes.length < headerBytes) return undefined;
    const first = bytes.readUIntBE(epochBytes, 6);
    const entries: Entry[] = [];
    let length = headerBytes;
    while (length + 4 <= bytes.length) {
      const end = length + 4 + bytes.readUInt32BE(length);
      // A daemon that was killed while it wrote told nobody of this one.
      if (end > bytes.length) break;
      const envelope = envelopeOf(decode(type, bytes.subarray(length + 4, end)));
      entries.push({ sequence: first + entries.length, envelope });
      this.#sequences.set(envelope, first + entries.length - 1);
      length = end;
    }
    return { epoch: bytes.subarray(0, epochBytes), first, entries, length };
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
