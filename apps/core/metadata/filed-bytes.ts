import type { TypedBytes } from './typed-bytes.ts';

/** {@link TypedBytes} as a record's file has them. */
export interface FiledBytes {
  readonly typeUrl: string;
  readonly base64: string;
}

export function filedBytes({ typeUrl, value }: TypedBytes): FiledBytes {
  return { typeUrl, base64: Buffer.from(value).toString('base64') };
}

/** @throws for what {@link filedBytes} doesn't answer. */
export function bytesOf({ typeUrl, base64 }: FiledBytes): TypedBytes {
  return { typeUrl, value: Buffer.from(base64, 'base64') };
}

/** Clients' own data by name. */
export function filedExtensions(extensions: Readonly<Record<string, TypedBytes>>): Record<string, FiledBytes> {
  return Object.fromEntries(Object.entries(extensions).map(([name, bytes]) => [name, filedBytes(bytes)]));
}

/** @throws for what {@link filedExtensions} doesn't answer. */
export function extensionsOf(filed: Readonly<Record<string, FiledBytes>>): Record<string, TypedBytes> {
  return Object.fromEntries(Object.entries(filed).map(([name, bytes]) => [name, bytesOf(bytes)]));
}
