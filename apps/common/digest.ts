import { createHash, type Hash } from 'node:crypto';
import { BerthError } from './errors.ts';

const hexLength: Readonly<Record<string, number>> = {
  sha256: 64,
  sha384: 96,
  sha512: 128,
};
const form = /^([a-z0-9]+):([a-f0-9]+)$/;

export interface Digest {
  readonly algorithm: string;
  /** Lower-case hexadecimal. */
  readonly hex: string;
}

/**
 * Parses `sha256:<64 hex digits>` (OCI image spec, descriptor.md, "Digests"); sha384 and sha512 are known too.
 * Both parts of the result are safe as file names.
 * @throws BerthError `invalid_argument`
 */
export function parseDigest(text: string): Digest {
  const [, algorithm = '', hex = ''] = form.exec(text) ?? [];
  if (algorithm === '') throw new BerthError('invalid_argument', `invalid digest "${text}": want <algorithm>:<hex>`);
  const want = hexLength[algorithm];
  if (want === undefined) {
    throw new BerthError('invalid_argument', `digest "${text}": unsupported algorithm "${algorithm}"`);
  }
  if (hex.length !== want) {
    throw new BerthError('invalid_argument', `digest "${text}": want ${want} hex digits, got ${hex.length}`);
  }
  return { algorithm, hex };
}

/** Whether {@link parseDigest} accepts the text. */
export function isDigest(text: string): boolean {
  const [, algorithm = '', hex = ''] = form.exec(text) ?? [];
  return hexLength[algorithm] === hex.length;
}

/** The canonical digest, `sha256:…`, of bytes or of a UTF-8 string. */
export function sha256(data: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** A running hash of the algorithm of `digest`, to verify content that is still coming in. */
export function hasherFor(digest: string): Hash {
  return createHash(parseDigest(digest).algorithm);
}
