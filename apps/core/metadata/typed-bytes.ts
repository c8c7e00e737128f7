import type { Any } from '#common/typeurl.ts';

/** A google.protobuf.Any that nobody here looks into. */
export interface TypedBytes {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export function toAny({ typeUrl, value }: TypedBytes): Any {
  return { type_url: typeUrl, value: Buffer.from(value.buffer, value.byteOffset, value.byteLength) };
}

export function fromAny(any: Any | null | undefined): TypedBytes | undefined {
  return any ? { typeUrl: any.type_url, value: any.value } : undefined;
}

/** Of two nullable columns. */
export function typedBytes(typeUrl: string | null, value: Uint8Array | null): TypedBytes | undefined {
  return typeUrl === null ? undefined : { typeUrl, value: value ?? new Uint8Array() };
}

/** Clients' own data by name, as messages have it. */
export function toAnys(extensions: Readonly<Record<string, TypedBytes>>): Record<string, Any> {
  return Object.fromEntries(Object.entries(extensions).map(([name, extension]) => [name, toAny(extension)]));
}

export function fromAnys(extensions: Readonly<Record<string, Any>>): Record<string, TypedBytes> {
  return Object.fromEntries(
    Object.entries(extensions).map(([name, { type_url, value }]) => [name, { typeUrl: type_url, value }]),
  );
}
