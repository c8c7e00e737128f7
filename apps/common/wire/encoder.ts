import { enums, messages, type WireTypes } from '#proto/wire.ts';
import { BerthError } from '../errors.ts';
import { type Field, type FieldType, type MessageTable, rules, type ScalarType, wireTypeOf } from './schema.ts';
import type { Integer, Write } from './writer.ts';

type Message = Readonly<Record<string, unknown>>;

const encoders = new Map<string, Write>();

/** Writes the fields of a message; made of its table when first asked for. */
export function encoderOf(name: string): Write {
  let encoder = encoders.get(name);
  if (encoder === undefined) {
    encoder = messageEncoder(messages[name as keyof WireTypes]);
    encoders.set(name, encoder);
  }
  return encoder;
}

function messageEncoder(table: MessageTable): Write {
  const fields = table.map((field) => ({ name: field[1], write: fieldEncoder(field) }));
  return (writer, value) => {
    for (const { name, write } of fields) {
      const held = (value as Message)[name];
      if (held !== undefined && held !== null) write(writer, held);
    }
  };
}

/** Writes a field with its tag. */
function fieldEncoder(field: Field): Write {
  const [number, , rule, type, reference, presence] = field;
  if (rule === rules.map) return mapEncoder(field);
  if (rule === rules.repeated) return repeatedEncoder(field);
  const tag = tagOf(number, type);
  const write = valueEncoder(type, reference);
  if (presence !== undefined || type === 'message') {
    return (writer, value) => {
      writer.uint32(tag);
      write(writer, value);
    };
  }
  const isDefault = type === 'enum' ? isFirst(reference as string) : isScalarDefault[type];
  return (writer, value) => {
    if (isDefault(value)) return;
    writer.uint32(tag);
    write(writer, value);
  };
}

function mapEncoder([number, , , type, reference]: Field): Write {
  const tag = tagOf(number, 'message');
  const keyTag = tagOf(1, 'string');
  const valueTag = tagOf(2, type);
  const write = valueEncoder(type, reference);
  return (writer, value) => {
    const map = value as Message;
    for (const key of Object.keys(map)) {
      writer.uint32(tag);
      const start = writer.open();
      writer.uint32(keyTag);
      writer.string(key);
      writer.uint32(valueTag);
      write(writer, map[key]);
      writer.close(start);
    }
  };
}

function repeatedEncoder([number, , , type, reference]: Field): Write {
  const write = valueEncoder(type, reference);
  const tag = tagOf(number, type);
  const packedTag = tagOf(number, 'bytes');
  if (tag === packedTag) {
    return (writer, values) => {
      for (const value of values as readonly unknown[]) {
        writer.uint32(tag);
        write(writer, value);
      }
    };
  }
  return (writer, values) => {
    if ((values as readonly unknown[]).length === 0) return;
    writer.uint32(packedTag);
    const start = writer.open();
    for (const value of values as readonly unknown[]) write(writer, value);
    writer.close(start);
  };
}

/** Writes a value without a tag. */
function valueEncoder(type: FieldType, reference: string | undefined): Write {
  if (type === 'enum') {
    const numberOf = enumNumbers(reference as string);
    return (writer, value) => writer.int32(numberOf(value));
  }
  if (type !== 'message') return scalarEncoders[type];
  let encoder: Write | undefined;
  return (writer, value) => {
    // Not before it is needed: a message may be one of its own fields.
    encoder ??= encoderOf(reference as string);
    const start = writer.open();
    encoder(writer, value);
    writer.close(start);
  };
}

const scalarEncoders: Readonly<Record<ScalarType, Write>> = {
  string: (writer, value) => writer.string(value as string),
  bytes: (writer, value) =>
    writer.bytes(typeof value === 'string' ? Buffer.from(value, 'base64') : (value as Uint8Array)),
  bool: (writer, value) => writer.uint32(value ? 1 : 0),
  int32: (writer, value) => writer.int32(value as number),
  uint32: (writer, value) => writer.uint32(value as number),
  int64: (writer, value) => writer.uint64(value as Integer),
  uint64: (writer, value) => writer.uint64(value as Integer),
  double: (writer, value) => writer.double(value as number),
};

/** proto3 leaves out a field without presence that holds its default. */
const isScalarDefault: Readonly<Record<ScalarType, (value: unknown) => boolean>> = {
  string: (value) => value === '',
  bytes: (value) => (value as string | Uint8Array).length === 0,
  bool: (value) => value === false,
  int32: (value) => value === 0,
  uint32: (value) => value === 0,
  int64: isZero,
  uint64: isZero,
  double: (value) => Object.is(value, 0),
};

function isZero(value: unknown): boolean {
  return value === 0 || value === '0' || value === 0n;
}

function isFirst(name: string): (value: unknown) => boolean {
  const numberOf = enumNumbers(name);
  return (value) => numberOf(value) === 0;
}

/** Takes the names of an enum's values, and numbers as they are. */
function enumNumbers(name: string): (value: unknown) => number {
  const numbers = new Map<unknown, number>(Object.entries(enums[name] ?? {}));
  return (value) => {
    if (typeof value === 'number') return value;
    const number = numbers.get(value);
    if (number === undefined) throw new BerthError('invalid_argument', `${name} has no value ${String(value)}`);
    return number;
  };
}

function tagOf(number: number, type: FieldType): number {
  return number * 8 + wireTypeOf(type);
}
