import { BerthError } from '#common/errors.ts';

/*
 * Names in tar are bytes. They are carried as byte strings, one UTF-16 unit per byte (Node's latin1), so that names in no
 * valid UTF-8 survive; only at the system call they become what the call wants.
 */

const NON_ASCII = /[^\0-\x7f]/;

/** The argument for node:fs: the string itself when it is ASCII, its bytes otherwise. */
export function fsPath(path: string): string | Buffer {
  return NON_ASCII.test(path) ? Buffer.from(path, 'latin1') : path;
}

/** For messages, and for calls that take UTF-8 text. */
export function displayPath(path: string): string {
  return NON_ASCII.test(path) ? Buffer.from(path, 'latin1').toString('utf8') : path;
}

/** A byte string from UTF-8 text or from the bytes that a system call answered. */
export function byteString(text: string | Buffer): string {
  if (typeof text !== 'string') return text.toString('latin1');
  return NON_ASCII.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
}

/**
 * The components of an archive member's name, `.` and empty ones dropped, `..` taken up.
 * @throws invalid_argument when the name leaves the root or can't be a name at all.
 */
export function components(name: string): string[] {
  if (name.includes('\0')) throw new BerthError('invalid_argument', `name "${displayPath(name)}" contains a NUL byte`);
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) {
      throw new BerthError('invalid_argument', `name "${displayPath(name)}" leads out of the layer's root`);
    }
  }
  return parts;
}
