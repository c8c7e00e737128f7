import { stat } from 'node:fs/promises';
import { hasherFor } from '#common/digest.ts';
import { isCode, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ContentStore } from '../content/store.ts';
import type { Descriptor } from '../registry/document.ts';

/** Reads a blob again; answers what is wrong with it, undefined when nothing is. */
export async function faultOfBlob(
  content: ContentStore,
  ns: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    content.info(ns, digest);
    const found = await stat(content.pathOf(digest));
    if (found.size !== size) return `${found.size} bytes instead of ${size}`;
    const hash = hasherFor(digest);
    await using reader = await content.open(ns, digest);
    for await (const piece of reader.stream()) {
      signal.throwIfAborted();
      hash.update(piece);
    }
    return hash.digest('hex') === digest.slice(digest.indexOf(':') + 1) ? undefined : 'damaged';
  } catch (error) {
    signal.throwIfAborted();
    if (isCode(error, 'not_found') || hasErrno(error, 'ENOENT')) return 'missing';
    return `unreadable: ${messageOf(error)}`;
  }
}
