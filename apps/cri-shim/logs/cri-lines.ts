/**
 * The CRI log format: `<time> <stdout|stderr> <P|F> <content>\n`. `F` ends a line of the container, `P` is a part of
 * one that goes on in the next entry. Content is bytes: latin1 strings stand for them one to one, so that string
 * functions, which V8 runs at memory speed, can do the work of a loop over lines.
 */

export type StreamName = 'stdout' | 'stderr';

const NEWLINE = 10;
const RETURN = 13;

/** Content of one entry at most, as containerd's default. */
export const DEFAULT_MAX_LINE = 16 * 1024;

export interface FormattedLines {
  /** Whole entries, latin1. */
  readonly text: string;
  /** Bytes of the input that the entries stand for. */
  readonly consumed: number;
  /** How many entries there are. */
  readonly entries: number;
}

/**
 * Formats the whole lines in `input` as entries that begin with `header` (time, stream and a space). A line longer
 * than `maxLine` is cut into parts of that size. What follows the last newline is left for the next call, except for
 * parts of full size, and except when `rest` asks for it as a part. A carriage return before a newline is dropped with
 * it, as containerd does: terminals send both.
 *
 * Where lines are cut depends on their content only, never on how it is spread over calls.
 */
export function formatLines(input: Buffer, header: string, maxLine: number, rest: boolean): FormattedLines {
  const full = `${header}F `;
  let text = '';
  let entries = 0;
  let lines = 0;
  const addLines = (end: number): void => {
    if (lines === end) return;
    const content = wholeLines(input, lines, end);
    const formatted = `${full}${content.slice(0, -1).replaceAll('\n', `\n${full}`)}\n`;
    text += formatted;
    // Each entry has made it longer by as much: counting needs no loop over the lines.
    entries += (formatted.length - content.length) / full.length;
  };
  let at = 0;
  for (;;) {
    const end = nextBreak(input, at, maxLine);
    if (end > at) {
      at = end;
      continue;
    }
    const left = input.length - at;
    const part = left > maxLine + 1 ? maxLine : rest ? Math.min(left, maxLine) : 0;
    if (part === 0) break;
    addLines(at);
    text += `${header}P ${input.toString('latin1', at, at + part)}\n`;
    entries++;
    at += part;
    lines = at;
  }
  addLines(at);
  return { text, consumed: at, entries };
}

/** The end of the furthest line such that every line from `at` to it fits, or `at` when the next one doesn't. */
function nextBreak(input: Buffer, at: number, maxLine: number): number {
  const newline = input.lastIndexOf(NEWLINE, at + maxLine);
  if (newline >= at) return newline + 1;
  const beyond = at + maxLine;
  return input[beyond] === RETURN && input[beyond + 1] === NEWLINE ? beyond + 2 : at;
}

/** The lines in [start, end), without carriage returns at their ends. */
function wholeLines(input: Buffer, start: number, end: number): string {
  const lines = input.toString('latin1', start, end);
  return lines.includes('\r') ? lines.replaceAll('\r\n', '\n') : lines;
}

/** One entry, taken apart. */
export interface LogEntry {
  readonly stream: StreamName;
  readonly full: boolean;
  /** latin1 */
  readonly content: string;
}

/** Reads one entry (latin1, without its newline); undefined when it isn't one. */
export function parseEntry(line: string): LogEntry | undefined {
  const match = /^\S+ (stdout|stderr) ([PF]) /.exec(line);
  if (match === null) return undefined;
  return { stream: match[1] as StreamName, full: match[2] === 'F', content: line.slice(match[0].length) };
}
