import { type LogEntry, parseEntry } from './cri-lines.ts';
import type { Journal } from './journal.ts';
import type { LogFile } from './log-file.ts';

/** More than one write to the log ever adds; beyond it the file isn't ours alone. */
const MOST = 16 * 1024 * 1024;

/**
 * Moves the journals' positions past what stands in the log after `size`, the size on record. A process that was
 * killed between writing entries and recording them left whole entries there and possibly the beginning of one; the
 * latter is cut off, and will be written again. Entries are compared with the journals: what someone else has put into
 * the file is neither counted nor cut.
 */
export function catchUp(file: LogFile, size: number, journals: { stdout?: Journal; stderr?: Journal }): void {
  const surplus = file.size - size;
  if (surplus <= 0 || surplus > MOST) return;
  const bytes = Buffer.alloc(surplus);
  const text = bytes.toString('latin1', 0, file.read(bytes, size));
  let at = 0;
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
    const entry = parseEntry(text.slice(at, end));
    const journal = entry && journals[entry.stream];
    if (entry === undefined || journal === undefined || !consumeEntry(journal, entry)) return;
    at = end + 1;
  }
  if (at < text.length) file.truncate(size + at);
}

/** Consumes what `entry` stands for; false when the journal doesn't go on with it. */
function consumeEntry(journal: Journal, entry: LogEntry): boolean {
  const raw = Buffer.alloc(entry.content.length + 2);
  const text = raw.toString('latin1', 0, journal.read(raw));
  if (!text.startsWith(entry.content)) return false;
  const rest = text.slice(entry.content.length);
  const ending = !entry.full ? 0 : rest.startsWith('\n') ? 1 : rest === '\r\n' ? 2 : -1;
  if (ending < 0) return false;
  journal.consume(entry.content.length + ending);
  return true;
}
