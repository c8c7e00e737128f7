import { BerthError } from '../errors.ts';

/** A member of an archive; all belong to root and carry no time, so that the same input gives the same bytes. */
export type TarEntry =
  | { readonly type: 'file'; readonly name: string; readonly data: Uint8Array | string; readonly mode?: number }
  | { readonly type: 'directory'; readonly name: string; readonly mode?: number }
  | { readonly type: 'symlink'; readonly name: string; readonly target: string };

const blockSize = 512;
const maxName = 100;
const maxSize = 0o77777777777;
/** What an archive ends with. */
export const archiveEnd: Uint8Array = Buffer.alloc(2 * blockSize);
const typeFlags = { file: '0', symlink: '2', directory: '5' } as const;

/**
 * A tar archive in the ustar format (POSIX.1-1988), held in memory.
 * @throws BerthError `invalid_argument` for names and targets longer than 100 bytes, which ustar can't hold
 */
export function tarArchive(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const data = entry.type === 'file' ? Buffer.from(entry.data) : Buffer.alloc(0);
    return [header(entry, data.length), data, padding(data.length)];
  });
  return Buffer.concat([...parts, archiveEnd]);
}

/** The pieces of a file's member around its data, for archives that are too big for memory. */
export function fileFrame(name: string, size: number): { readonly header: Buffer; readonly padding: Buffer } {
  return { header: header({ type: 'file', name, data: '' }, size), padding: padding(size) };
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(blockSize);
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset);
  block.write(bounded(entry.name), 0);
  if (size > maxSize)
    throw new BerthError('invalid_argument', `"${entry.name}" is too big for a ustar archive (8 GiB)`);
  octal(entry.type === 'symlink' ? 0o777 : (entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644)), 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write(typeFlags[entry.type], 156);
  if (entry.type === 'symlink') block.write(bounded(entry.target), 157);
  block.write('ustar\x0000', 257, 'latin1');
  // The sum of all bytes with the sum's own field as blanks.
  block.fill(' ', 148, 156);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return block;
}

function bounded(name: string): string {
  if (Buffer.byteLength(name) <= maxName) return name;
  throw new BerthError('invalid_argument', `"${name}" is too long for a ustar archive (${maxName} bytes)`);
}

function padding(size: number): Buffer {
  return Buffer.alloc(-size & (blockSize - 1));
}
