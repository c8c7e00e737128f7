import { enums, messages, type WireTypes } from '#proto/wire.ts';
import { BerthError } from '../errors.ts';
import type { Reader } from './reader.ts';
import {
  type Field,
  type FieldType,
  type MessageTable,
  rules,
  type ScalarType,
  wireTypeOf,
  wireTypes,
} from './schema.ts';

type Message = Record<string, unknown>;
type Read = (reader: Reader) => unknown;
/** Returns false, with nothing read, when the wire type isn't one the field may have: such a field is unknown. */
type ReadField = (reader: Reader, wireType: number, into: Message) => boolean;

const decoders = new Map<string, Read>();

/** Reads a message up to the reader's end; made of the message's table when first asked for. */
export function decoderOf(name: string): Read {
  let decoder = decoders.get(name);
  if (decoder === undefined) {
    decoder = messageDecoder(messages[name as keyof WireTypes]);
    decoders.set(name, decoder);
  }
  return decoder;
}

function messageDecoder(table: MessageTable): Read {
  const blank = blankOf(table);
  const fields: ReadField[] = [];
  for (const field of table) fields[field[0]] = fieldDecoder(field);
  return (reader) => {
    const message = blank();
    while (!reader.done) {
      const tag = reader.uint32();
      const wireType = tag & 7;
      const number = tag >>> 3;
      if (number === 0) throw new BerthError('invalid_argument', 'protobuf: field number 0');
      if (!fields[number]?.(reader, wireType, message)) reader.skip(wireType);
    }
    return message;
  };
}

/** Makes messages that hold their defaults. Fields with presence appear once they are read. */
function blankOf(table: MessageTable): () => Message {
  const defaults: Message = {};
  for (const [, name, rule, type, reference, presence] of table) {
    if (rule !== rules.single) defaults[name] = undefined;
    else if (presence === undefined) defaults[name] = defaultOf(type, reference);
  }
  const named = (wanted: number): string[] => table.filter(([, , rule]) => rule === wanted).map(([, name]) => name);
  const lists = named(rules.repeated);
  const maps = named(rules.map);
  return () => {
    const message = { ...defaults };
    for (const name of lists) message[name] = [];
    for (const name of maps) message[name] = {};
    return message;
  };
}

function fieldDecoder(field: Field): ReadField {
  const [, name, rule, type, reference, presence] = field;
  if (rule === rules.map) return mapDecoder(field);
  if (rule === rules.repeated) return repeatedDecoder(field);
  const expected = wireTypeOf(type);
  const read = valueDecoder(type, reference);
  return (reader, wireType, into) => {
    if (wireType !== expected) return false;
    into[name] = read(reader);
    if (presence !== undefined) into[presence] = name;
    return true;
  };
}

/** Numbers may come packed or one by one. */
function repeatedDecoder([, name, , type, reference]: Field): ReadField {
  const expected = wireTypeOf(type);
  const read = valueDecoder(type, reference);
  return (reader, wireType, into) => {
    const list = into[name] as unknown[];
    if (wireType === expected) list.push(read(reader));
    else if (wireType === wireTypes.bytes) {
      const packed = reader.nested();
      while (!packed.done) list.push(read(packed));
    } else return false;
    return true;
  };
}

function mapDecoder([, name, , type, reference]: Field): ReadField {
  const keyTag = 8 + wireTypes.bytes;
  const valueTag = 16 + wireTypeOf(type);
  const read = valueDecoder(type, reference);
  const blank = type === 'message' ? blankOf(messages[reference as keyof WireTypes]) : () => defaultOf(type, reference);
  return (reader, wireType, into) => {
    if (wireType !== wireTypes.bytes) return false;
    const entry = reader.nested();
    let key = '';
    let value: unknown;
    while (!entry.done) {
      const tag = entry.uint32();
      if (tag === keyTag) key = entry.string();
      else if (tag === valueTag) value = read(entry);
      else entry.skip(tag & 7);
    }
    setEntry(into[name] as Message, key, value ?? blank());
    return true;
  };
}

/** A key named __proto__ must become a property like any other. */
function setEntry(map: Message, key: string, value: unknown): void {
  if (key !== '__proto__') map[key] = value;
  else Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
}

function valueDecoder(type: FieldType, reference: string | undefined): Read {
  if (type === 'enum') {
    const nameOf = enumNames(reference as string);
    return (reader) => nameOf(reader.int32());
  }
  if (type !== 'message') return scalarDecoders[type];
  let decoder: Read | undefined;
  return (reader) => {
    // Not before it is needed: a message may be one of its own fields.
    decoder ??= decoderOf(reference as string);
    return decoder(reader.nested());
  };
}

const scalarDecoders: Readonly<Record<ScalarType, Read>> = {
  string: (reader) => reader.string(),
  bytes: (reader) => reader.bytes(),
  bool: (reader) => reader.bool(),
  int32: (reader) => reader.int32(),
  uint32: (reader) => reader.uint32(),
  int64: (reader) => reader.int64(),
  uint64: (reader) => reader.uint64(),
  double: (reader) => reader.double(),
};

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
      return enumNames(reference as string)(0);
    case 'message':
      return null;
    default:
      return 0;
  }
}

/** The first name of a number; the number itself when the enum of this version doesn't know it. */
function enumNames(name: string): (number: number) => string | number {
  const names = new Map<number, string>();
  for (const [key, number] of Object.entries(enums[name] ?? {})) if (!names.has(number)) names.set(number, key);
  return (number) => names.get(number) ?? number;
}
