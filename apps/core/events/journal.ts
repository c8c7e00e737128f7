import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Envelope } from './events.ts';
import { epochBytes, JournalSegment } from './journal-segment.ts';

export interface JournalOptions {
  /** Private directory in the volatile state; made when missing. */
  readonly directory: string;
  /** Two segments of so many bytes are kept. */
  readonly segmentBytes?: number;
  /** Told when the journal can't be written; events go on without it. */
  readonly onFailure: (error: BerthError) => void;
}

/** Some 7,000 events. */
const defaultSegmentBytes = 2 << 20;

/**
 * The latest events, in memory and in files that outlive the daemon: two segments. An event is written before anybody
 * hears of it, so that a cursor that a client has names an event that is there.
 */
export class EventJournal {
  readonly #options: JournalOptions;
  readonly #sequences = new WeakMap<Envelope, number>();
  #older: JournalSegment | undefined;
  #newer: JournalSegment;
  #fd: number | undefined;

  /** Reads what an earlier daemon left. */
  constructor(options: JournalOptions) {
    this.#options = options;
    this.#newer = JournalSegment.empty(randomBytes(epochBytes), 1);
    try {
      const [older, newer] = ['older', 'newer'].map((name) => this.#read(name));
      // Of one whose newer segment is gone or damaged at its beginning nobody knows what is missing.
      if (newer !== undefined) {
        this.#older = older?.epoch.equals(newer.epoch) && older.end === newer.first ? older : undefined;
        this.#newer = newer;
        this.#fd = openSync(join(options.directory, 'newer'), 'a');
        ftruncateSync(this.#fd, newer.bytes.length);
      } else this.#begin();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Where a follower from now on begins. */
  get cursor(): string {
    return this.#cursorAt(this.#newer.end - 1);
  }

  /** The place of an event that was appended. */
  cursorOf(envelope: Envelope): string {
    return this.#cursorAt(this.#sequences.get(envelope) ?? this.#newer.end - 1);
  }

  append(envelope: Envelope): void {
    this.#sequences.set(envelope, this.#newer.end);
    const bytes = this.#newer.append(envelope);
    try {
      if (this.#fd !== undefined) writeSync(this.#fd, bytes);
      if (this.#newer.bytes.length >= (this.#options.segmentBytes ?? defaultSegmentBytes)) this.#turn();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The events after a cursor. @throws out_of_range when some of them are no longer kept; invalid_argument */
  after(cursor: string): Envelope[] {
    const [, epoch, digits] = /^([0-9a-f]{16})-(\d{1,15})$/.exec(cursor) ?? [];
    if (epoch === undefined) throw new BerthError('invalid_argument', `"${cursor}" is no cursor of an event`);
    const sequence = Number(digits);
    const first = (this.#older ?? this.#newer).first;
    if (epoch !== this.#newer.epoch.toString('hex') || sequence >= this.#newer.end || sequence < first - 1) {
      throw new BerthError('out_of_range', `events after ${cursor} are no longer kept: read the state anew`);
    }
    const found = [...(this.#older?.from(sequence + 1) ?? []), ...this.#newer.from(sequence + 1)];
    found.forEach((envelope, index) => {
      this.#sequences.set(envelope, sequence + 1 + index);
    });
    return found;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #cursorAt(sequence: number): string {
    return `${this.#newer.epoch.toString('hex')}-${sequence}`;
  }

  /** Begins a new segment; the one before the last is forgotten. */
  #turn(): void {
    this.#older = this.#newer;
    this.#newer = JournalSegment.empty(this.#older.epoch, this.#older.end);
    const { directory } = this.#options;
    renameIfThere(join(directory, 'newer'), join(directory, 'older'));
    this.close();
    this.#begin();
  }

  /** The file of the newer segment, with what that holds. */
  #begin(): void {
    const { directory } = this.#options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const temporary = join(directory, 'next');
    this.#fd = openSync(temporary, 'w', 0o600);
    writeSync(this.#fd, this.#newer.bytes);
    renameSync(temporary, join(directory, 'newer'));
  }

  /** Without files the next daemon has a new epoch: no cursor of this one leads astray there. */
  #fail(error: unknown): void {
    const { directory, onFailure } = this.#options;
    onFailure(BerthError.from(error, `write the journal of events in ${directory}`));
    this.close();
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch (cause) {
      onFailure(BerthError.from(cause, `remove the journal of events in ${directory}`));
    }
  }

  #read(name: string): JournalSegment | undefined {
    const bytes = readIfThere(join(this.#options.directory, name));
    return bytes === undefined ? undefined : JournalSegment.parse(bytes);
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
