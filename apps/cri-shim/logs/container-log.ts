import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { fionread } from '#common/native/index.ts';
import { catchUp } from './catch-up.ts';
import { formatLines, type StreamName } from './cri-lines.ts';
import { closeFifos, openFifos } from './fifos.ts';
import type { Followers } from './followers.ts';
import { Journal } from './journal.ts';
import type { LogClock } from './log-clock.ts';
import type { LogCounts } from './log-counts.ts';
import { LogFile } from './log-file.ts';
import type { LogSource } from './log-manager.ts';
import { type LogProgress, LogRecord } from './log-record.ts';
import type { Output, OutputStream } from './output.ts';

/** What all logs of a worker share. */
export interface LogTools {
  readonly clock: LogClock;
  readonly maxLine: number;
  /** Room for raw output; more than two lines of the greatest length. */
  readonly input: Buffer;
  readonly output: Buffer;
  readonly followers: Followers;
  readonly counts: LogCounts;
}

interface LogStream extends OutputStream {
  readonly journal: Journal;
}

/** Entries on their way to the log file, and the journal bytes they stand for. */
interface Unwritten {
  bytes: Buffer;
  readonly journal: Journal;
  readonly consumed: number;
  readonly entries: number;
}

/** Bytes taken out of a FIFO in one go, so that containers take turns. */
const TURN = 1 << 20;

/**
 * The log of one container: FIFO → journal → log file, one step after another, each recorded.
 *
 *   1. splice moves bytes from the pipe to the end of the journal (see Journal: never torn);
 *   2. whole lines of the journal are appended to the log file;
 *   3. the record gets the journals' new positions and the log's size, in one write (see LogRecord: never torn);
 *   4. journal space before the recorded position is given back.
 *
 * Why each line stands in the log once, and in order, though the process be killed between any two instructions:
 *
 * - After 1 the bytes are in the journal, beyond the recorded position: the next process formats them.
 * - In or after 2, the log holds more than its recorded size. This surplus is entries made from the bytes that follow
 *   the recorded positions, the last one possibly torn. An entry says which stream it is from and, by its tag, whether
 *   it stands for a newline, so the surplus tells exactly how far each journal got, also when both streams share the
 *   file (`catchUp`). A torn entry is cut off. Formatting then goes on from the positions found; it cuts lines by their
 *   content alone, so the entries are those that the killed process would have written.
 * - After 3 positions and size agree.
 * - 4 touches recorded bytes only. A journal that was emptied is shorter than its recorded position: start anew at 0.
 * - Rotation: the kubelet renames the log file, then asks for `reopen`. That brings 1 to 3 to their end for the old
 *   file, opens the new one, and records it. The record names the file by its identity: killed before, the next
 *   process finds the surplus by that identity under whatever name the old file has in its folder, and only then goes
 *   on with the new one; killed after, the record is about the new one.
 * - The start of an unfinished line stays in the journal, and goes to the file that is open when it is finished.
 *
 * The one way to see lines twice: the old file is gone from its folder before its surplus could be read. At most the
 * lines of one write are concerned.
 */
export class ContainerLog implements Output {
  readonly id: string;
  readonly streams: readonly LogStream[];
  readonly #path: string;
  readonly #directory: string;
  readonly #folder: string;
  readonly #tools: LogTools;
  readonly #record: LogRecord;
  /** Where an earlier process left off; absent once its last entries have been counted. */
  #resuming: LogProgress | undefined;
  /** Absent while it can't be opened. */
  #file: LogFile | undefined;
  #unwritten: Unwritten | undefined;

  /**
   * Goes on with a log that an earlier process left in `folder`, or begins one. Failing to open the log file is an
   * error for a new log only.
   */
  static attach(source: LogSource & { logPath: string }, folder: string, tools: LogTools): ContainerLog {
    const undo = new DisposableStack();
    try {
      const fifos = undo.adopt(openFifos(source), closeFifos);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const record = undo.adopt(LogRecord.open(join(folder, 'progress')), (opened) => opened.close());
      const progress = record.read();
      const streams = fifos.map((fifo) => {
        const journal = new Journal(join(folder, `${fifo.name}.journal`), progress?.[fifo.name] ?? 0);
        undo.defer(() => journal.close());
        return { ...fifo, journal };
      });
      const log = new ContainerLog(source, folder, tools, record, streams);
      log.#resuming = progress;
      if (progress === undefined) {
        undo.defer(() => rmSync(folder, { recursive: true, force: true }));
        log.#open();
      }
      undo.move();
      return log;
    } catch (error) {
      undo.dispose();
      throw BerthError.from(error, `log of container ${source.containerId}`);
    }
  }

  private constructor(
    source: LogSource & { logPath: string },
    folder: string,
    tools: LogTools,
    record: LogRecord,
    streams: readonly LogStream[],
  ) {
    this.id = source.containerId;
    this.#path = source.logPath;
    this.#directory = source.logDirectory ?? dirname(source.logPath);
    this.#folder = folder;
    this.#tools = tools;
    this.#record = record;
    this.streams = streams;
  }

  move(stream: LogStream): number {
    const moved = this.#fill(stream, TURN);
    if (moved > 0) this.#format(stream, false);
    return moved;
  }

  settle(): void {
    try {
      if (this.#resuming !== undefined) this.#resume(this.#resuming);
      if (this.#file === undefined) this.#open();
    } catch (error) {
      throw BerthError.from(error, `log of container ${this.id}`);
    }
    if (this.#unwritten !== undefined) this.#write(this.#unwritten);
    for (const stream of this.streams) this.#format(stream, false);
  }

  flush(stream: LogStream): void {
    this.settle();
    this.#format(stream, true);
  }

  reopen(): void {
    this.settle();
    for (const stream of this.streams) {
      if (!stream.ended) this.#moveAtHand(stream);
    }
    const file = LogFile.open(this.#directory, this.#path);
    this.#file?.close();
    this.#file = file;
    this.#save(file);
  }

  close(): void {
    this.#file?.close();
    this.#record.close();
    for (const stream of this.streams) stream.journal.close();
    closeFifos(this.streams);
  }

  forget(): void {
    this.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #fill(stream: LogStream, limit: number): number {
    const moved = stream.journal.fill(stream.fifo, limit);
    if (stream.followers.size > 0) this.#tell(stream, moved);
    return moved;
  }

  /** Tells the followers of the last `length` bytes of the journal. */
  #tell(stream: LogStream, length: number): void {
    const { input, followers } = this.#tools;
    for (let left = length; left > 0; ) {
      const read = stream.journal.read(input, stream.journal.unread - left);
      followers.tell(stream, input.subarray(0, read));
      left -= read;
    }
  }

  /** Moves what the FIFO holds at this moment: a container that goes on writing can't keep us here. */
  #moveAtHand(stream: LogStream): void {
    for (let left = fionread(stream.fifo); left > 0; ) {
      const moved = this.#fill(stream, left);
      if (moved <= 0) return;
      left -= moved;
      this.#format(stream, false);
    }
  }

  #open(): LogFile {
    const file = LogFile.open(this.#directory, this.#path);
    this.#file = file;
    this.#save(file);
    return file;
  }

  #resume(progress: LogProgress): void {
    const journals: Partial<Record<StreamName, Journal>> = {};
    for (const stream of this.streams) journals[stream.name] = stream.journal;
    const last = LogFile.find(this.#directory, this.#path, progress.log);
    if (last !== undefined) {
      try {
        catchUp(last, progress.size, journals);
        this.#save(last);
      } finally {
        last.close();
      }
    }
    this.#resuming = undefined;
  }

  /** Brings the whole lines of a journal to the log; with `rest`, also what follows the last newline. */
  #format(stream: LogStream, rest: boolean): void {
    const { clock, maxLine, input, output } = this.#tools;
    for (let more = stream.journal.unread > 0; more; ) {
      const length = stream.journal.read(input);
      const last = length === stream.journal.unread;
      const header = `${clock.now()} ${stream.name} `;
      const { text, consumed, entries } = formatLines(input.subarray(0, length), header, maxLine, rest && last);
      if (consumed === 0) return;
      const bytes =
        text.length > output.length ? Buffer.from(text, 'latin1') : output.subarray(0, output.write(text, 'latin1'));
      this.#write({ bytes, journal: stream.journal, consumed, entries });
      more = !last;
    }
  }

  #write(entries: Unwritten): void {
    const file = this.#file ?? this.#open();
    let written = 0;
    try {
      while (written < entries.bytes.length) written += file.append(entries.bytes.subarray(written));
    } catch (error) {
      // A copy: the next container's entries take the buffer.
      this.#unwritten = { ...entries, bytes: Buffer.from(entries.bytes.subarray(written)) };
      throw BerthError.from(error, `log of container ${this.id}: ${this.#path}`);
    }
    this.#unwritten = undefined;
    entries.journal.consume(entries.consumed);
    this.#tools.counts.add(entries.consumed, entries.entries);
    this.#save(file);
    if (entries.journal.release()) this.#save(file);
  }

  #save(file: LogFile): void {
    const start = (name: StreamName) => this.streams.find((stream) => stream.name === name)?.journal.start ?? 0;
    this.#record.write({ log: file.identity, size: file.size, stdout: start('stdout'), stderr: start('stderr') });
  }
}
