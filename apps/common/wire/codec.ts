import { enums, messages, type WireTypes } from '#proto/wire.ts';
import { BerthError } from '../errors.ts';
import { Reader, wireTypes } from './reader.ts';
import { type Field, type FieldType, type MessageTable, rules } from './schema.ts';
import { type Integer, Writer } from './writer.ts';

export type MessageName = keyof WireTypes;

type Value = Record<string, unknown>;

/**
 * Encodes a message for ttrpc or for an Any. Takes what proto-loader takes: absent, null and undefined fields are
 * left out, 64-bit numbers may be numbers, decimal strings or bigints, enums names or numbers.
 *
 * Throws `invalid_argument` for a value that doesn't fit its field.
 */
export function encode<M extends MessageName>(type: M, value: WireTypes[M]['in']): Uint8Array {
  const writer = new Writer();
  try {
    writeMessage(writer, messages[type], value as Value);
  } catch (error) {
    throw badMessage('encode', type, error);
  }
  return writer.finish();
}

/**
 * Decodes a message into the shape proto-loader gives it: every field present, with its default or null; a field
 * with presence only when it was sent. Unknown fields are skipped. `bytes` fields share memory with the input.
 *
 * Throws `invalid_argument` for bytes that aren't such a message.
 */
export function decode<M extends MessageName>(type: M, bytes: Uint8Array): WireTypes[M]['out'] {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return readMessage(new Reader(buffer), messages[type]) as WireTypes[M]['out'];
  } catch (error) {
    throw badMessage('decode', type, error);
  }
}

function badMessage(action: string, type: string, error: unknown): BerthError {
  const message = error instanceof Error ? error.message : String(error);
  return new BerthError('invalid_argument', `${action} ${type}: ${message}`, { cause: error });
}

function tableOf(name: string): MessageTable {
  return messages[name as MessageName];
}

// Writing

function writeMessage(writer: Writer, table: MessageTable, value: Value): void {
  for (const field of table) {
    const [number, name, rule, type, reference, presence] = field;
    const held = value[name];
    if (held === undefined || held === null) continue;
    if (rule === rules.map) writeMap(writer, field, held as Value);
    else if (rule === rules.repeated) writeRepeated(writer, field, held as readonly unknown[]);
    else if (presence !== undefined || !isDefault(type, held, reference)) {
      writer.tag(number, wireTypeOf(type));
      writeValue(writer, type, reference, held);
    }
  }
}

function writeMap(writer: Writer, [number, , , type, reference]: Field, map: Value): void {
  for (const [key, value] of Object.entries(map)) {
    const entry = new Writer();
    entry.tag(1, wireTypes.bytes);
    entry.string(key);
    entry.tag(2, wireTypeOf(type));
    writeValue(entry, type, reference, value);
    writer.tag(number, wireTypes.bytes);
    writer.bytes(entry.finish());
  }
}

function writeRepeated(writer: Writer, [number, , , type, reference]: Field, values: readonly unknown[]): void {
  const wireType = wireTypeOf(type);
  if (wireType === wireTypes.bytes) {
    for (const value of values) {
      writer.tag(number, wireType);
      writeValue(writer, type, reference, value);
    }
  } else if (values.length > 0) {
    const packed = new Writer();
    for (const value of values) writeValue(packed, type, reference, value);
    writer.tag(number, wireTypes.bytes);
    writer.bytes(packed.finish());
  }
}

function writeValue(writer: Writer, type: FieldType, reference: string | undefined, value: unknown): void {
  switch (type) {
    case 'string':
      writer.string(value as string);
      break;
    case 'bytes':
      writer.bytes(typeof value === 'string' ? Buffer.from(value, 'base64') : (value as Uint8Array));
      break;
    case 'bool':
      writer.uint32(value ? 1 : 0);
      break;
    case 'int32':
      writer.int32(value as number);
      break;
    case 'uint32':
      writer.uint32(value as number);
      break;
    case 'int64':
    case 'uint64':
      writer.uint64(value as Integer);
      break;
    case 'double':
      writer.double(value as number);
      break;
    case 'enum':
      writer.int32(enumNumber(reference as string, value));
      break;
    case 'message': {
      const nested = new Writer();
      writeMessage(nested, tableOf(reference as string), value as Value);
      writer.bytes(nested.finish());
      break;
    }
  }
}

/** proto3 leaves out a field without presence that holds its default. */
function isDefault(type: FieldType, value: unknown, reference: string | undefined): boolean {
  switch (type) {
    case 'message':
      return false;
    case 'string':
      return value === '';
    case 'bytes':
      return (value as string | Uint8Array).length === 0;
    case 'double':
      return Object.is(value, 0);
    case 'enum':
      return enumNumber(reference as string, value) === 0;
    default:
      return value === 0 || value === false || value === '0' || value === 0n;
  }
}

function enumNumber(name: string, value: unknown): number {
  if (typeof value === 'number') return value;
  const number = enums[name]?.[value as string];
  if (number === undefined) throw new BerthError('invalid_argument', `${name} has no value ${String(value)}`);
  return number;
}

function wireTypeOf(type: FieldType): number {
  switch (type) {
    case 'string':
    case 'bytes':
    case 'message':
      return wireTypes.bytes;
    case 'double':
      return wireTypes.fixed64;
    default:
      return wireTypes.varint;
  }
}

// Reading

function readMessage(reader: Reader, table: MessageTable): Value {
  const value = defaultsOf(table);
  while (!reader.done) {
    const tag = reader.uint32();
    const wireType = tag & 7;
    const number = tag >>> 3;
    if (number === 0) throw new BerthError('invalid_argument', 'protobuf: field number 0');
    const field = table.find((each) => each[0] === number);
    if (field === undefined || !readField(reader, field, wireType, value)) reader.skip(wireType);
  }
  return value;
}

/** Returns false, with nothing read, when the wire type isn't one the field may have: such a field is unknown. */
function readField(reader: Reader, field: Field, wireType: number, into: Value): boolean {
  const [, name, rule, type, reference, presence] = field;
  const expected = wireTypeOf(type);
  if (rule === rules.map) {
    if (wireType !== wireTypes.bytes) return false;
    readEntry(reader.nested(), field, into[name] as Value);
  } else if (rule === rules.repeated) {
    const list = into[name] as unknown[];
    if (wireType === expected) list.push(readValue(reader, type, reference));
    else if (wireType === wireTypes.bytes) {
      const packed = reader.nested();
      while (!packed.done) list.push(readValue(packed, type, reference));
    } else return false;
  } else {
    if (wireType !== expected) return false;
    into[name] = readValue(reader, type, reference);
    if (presence !== undefined) into[presence] = name;
  }
  return true;
}

function readEntry(reader: Reader, [, , , type, reference]: Field, map: Value): void {
  let key = '';
  let value: unknown;
  while (!reader.done) {
    const tag = reader.uint32();
    if (tag === ((1 << 3) | wireTypes.bytes)) key = reader.string();
    else if (tag === ((2 << 3) | wireTypeOf(type))) value = readValue(reader, type, reference);
    else reader.skip(tag & 7);
  }
  value ??= type === 'message' ? defaultsOf(tableOf(reference as string)) : defaultOf(type, reference);
  // A key named __proto__ must become a property like any other.
  Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
}

function readValue(reader: Reader, type: FieldType, reference: string | undefined): unknown {
  switch (type) {
    case 'string':
      return reader.string();
    case 'bytes':
      return reader.bytes();
    case 'bool':
      return reader.bool();
    case 'int32':
      return reader.int32();
    case 'uint32':
      return reader.uint32();
    case 'int64':
      return reader.int64();
    case 'uint64':
      return reader.uint64();
    case 'double':
      return reader.double();
    case 'enum':
      return enumName(reference as string, reader.int32());
    case 'message':
      return readMessage(reader.nested(), tableOf(reference as string));
  }
}

function defaultsOf(table: MessageTable): Value {
  const value: Value = {};
  for (const [, name, rule, type, reference, presence] of table) {
    if (rule === rules.map) value[name] = {};
    else if (rule === rules.repeated) value[name] = [];
    else if (presence === undefined) value[name] = defaultOf(type, reference);
  }
  return value;
}

function defaultOf(type: FieldType, reference: string | undefined): unknown {
  switch (type) {
    case 'string':
      return '';
    case 'bytes':
      return Buffer.alloc(0);
    case 'bool':
      return false;
    case 'int64':
    case 'uint64':
      return '0';
    case 'enum':
      return enumName(reference as string, 0);
    case 'message':
      return null;
    default:
      return 0;
  }
}

/** The first name of a number; the number itself when the enum of this version doesn't know it. */
function enumName(name: string, number: number): string | number {
  for (const [key, value] of Object.entries(enums[name] ?? {})) if (value === number) return key;
  return number;
}
