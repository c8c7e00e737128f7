import { BerthError } from '../errors.ts';

/** A member of an archive; all belong to root and carry no time, so that the same input gives the same bytes. */
export type TarEntry =
  | { readonly type: 'file'; readonly name: string; readonly data: Uint8Array | string; readonly mode?: number }
  | { readonly type: 'directory'; readonly name: string; readonly mode?: number }
  | { readonly type: 'symlink'; readonly name: string; readonly target: string };

const blockSize = 512;
const maxName = 100;
const typeFlags = { file: '0', symlink: '2', directory: '5' } as const;

/**
 * A tar archive in the ustar format (POSIX.1-1988), held in memory.
 * @throws BerthError `invalid_argument` for names and targets longer than 100 bytes, which ustar can't hold
 */
export function tarArchive(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const data = entry.type === 'file' ? Buffer.from(entry.data) : Buffer.alloc(0);
    return [header(entry, data.length), data, Buffer.alloc(-data.length & (blockSize - 1))];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * blockSize)]);
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(blockSize);
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset);
  block.write(bounded(entry.name), 0);
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
