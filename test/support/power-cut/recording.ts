import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** A change as the recorder tells of it; inode numbers are text. */
export type Change =
  | { op: 'made'; parent: string; inode: string; kind: string; name: string }
  | { op: 'written'; inode: string; offset: number; data: Buffer }
  | { op: 'truncated'; inode: string; length: number }
  | { op: 'renamed'; from: Name; to: Name }
  | ({ op: 'removed' } & Name)
  /** Without an inode: of everything. */
  | { op: 'sync began'; inode: string | undefined; number: string }
  | { op: 'sync ended'; number: string }
  /** Something that the program was told is safe. */
  | { op: 'promised'; what: string };

export interface Name {
  readonly parent: string;
  readonly name: string;
}

/** Compiles the recorder into `dir`; answers the library's path. */
export function buildRecorder(dir: string): string {
  const library = join(dir, 'recorder.so');
  const source = join(import.meta.dirname, 'recorder.c');
  execFileSync('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-o', library, source]);
  return library;
}

/** The changes of a log; its format is drawn in recorder.c. */
export function* parseRecording(log: Buffer): Generator<Change> {
  for (let at = 0; at < log.length; ) {
    const end = log.indexOf(0x0a, at);
    const line = log.toString('utf8', at, end);
    at = end + 1;
    const [kind = '', ...rest] = line.split(' ');
    const [a = '', b = '', c = ''] = rest;
    switch (kind) {
      case 'C':
        yield { op: 'made', parent: a, inode: b, kind: c, name: rest.slice(3).join(' ') };
        break;
      case 'W':
        yield { op: 'written', inode: a, offset: Number(b), data: log.subarray(at, at + Number(c)) };
        at += Number(c);
        break;
      case 'T':
        yield { op: 'truncated', inode: a, length: Number(b) };
        break;
      case 'R': {
        const [from = '', to = ''] = line.slice(2).split('/');
        yield { op: 'renamed', from: nameOf(from), to: nameOf(to) };
        break;
      }
      case 'U':
        yield { op: 'removed', ...nameOf(line.slice(2)) };
        break;
      case 'B':
        yield { op: 'sync began', inode: a, number: b };
        break;
      case 'S':
        yield { op: 'sync began', inode: undefined, number: a };
        break;
      case 'E':
        yield { op: 'sync ended', number: a };
        break;
      case 'P':
        yield { op: 'promised', what: rest.join(' ') };
        break;
      default:
        throw new Error(`no record of the recorder: ${line.slice(0, 80)}`);
    }
  }
}

function nameOf(text: string): Name {
  const space = text.indexOf(' ');
  return { parent: text.slice(0, space), name: text.slice(space + 1) };
}
