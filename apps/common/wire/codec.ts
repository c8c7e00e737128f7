import type { WireTypes } from '#proto/wire.ts';
import { BerthError } from '../errors.ts';
import { decoderOf } from './decoder.ts';
import { encoderOf } from './encoder.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

export type MessageName = keyof WireTypes;

/**
 * Encodes a message. Absent, null and undefined fields are left out, 64-bit numbers may be numbers, decimal strings or
 * bigints, enums names or numbers.
 *
 * Throws `invalid_argument` for a value that doesn't fit its field.
 */
export function encode<M extends MessageName>(type: M, value: WireTypes[M]['in']): Buffer {
  const writer = new Writer();
  try {
    encoderOf(type)(writer, value);
  } catch (error) {
    throw badMessage('encode', type, error);
  }
  return writer.finish();
}

/**
 * Decodes a message into the shape of the generated types: every field present, with its default or null; a field
 * with presence only when it was sent. Unknown fields are skipped. `bytes` fields share memory with the input.
 *
 * Throws `invalid_argument` for bytes that aren't such a message.
 */
export function decode<M extends MessageName>(type: M, bytes: Uint8Array): WireTypes[M]['out'] {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return decoderOf(type)(new Reader(buffer)) as WireTypes[M]['out'];
  } catch (error) {
    throw badMessage('decode', type, error);
  }
}

function badMessage(action: string, type: string, error: unknown): BerthError {
  const message = error instanceof Error ? error.message : String(error);
  return new BerthError('invalid_argument', `${action} ${type}: ${message}`, { cause: error });
}
