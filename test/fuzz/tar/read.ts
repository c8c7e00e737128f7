import { createHash } from 'node:crypto';
import { BerthError } from '#common/errors.ts';
import { TarReader } from '../../../apps/core/unpack/tar-reader.ts';
import type { Random } from '../../support/random.ts';

/**
 * Reads an archive in pieces of random sizes; answers what it holds, or the error, as text.
 * @throws what isn't a BerthError.
 */
export function readAsText(archive: Buffer, random: Random): string {
  const reader = new TarReader();
  const lines: string[] = [];
  try {
    for (let at = 0; at < archive.length; ) {
      const end = at + 1 + random.int(random.pick([3, 600, 5_000, 100_000]));
      for (const event of reader.push(archive.subarray(at, end))) {
        if (event.type === 'entry') {
          const { xattrs, mtime, atime, ...entry } = event.entry;
          lines.push(`${JSON.stringify(entry)} ${mtime} ${atime} ${[...xattrs.keys()]} `);
        } else if (event.type === 'data') lines.push(event.data.toString('latin1'));
        else lines.push(event.type === 'hole' ? `hole of ${event.length}` : '\n');
      }
      at = end;
    }
    reader.close();
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    lines.push(`${error.code}: ${error.message}`);
  }
  return `${lines.length > 0 ? lines.at(-1)?.slice(0, 200) : ''} ${createHash('sha256').update(lines.join('')).digest('hex')}`;
}
