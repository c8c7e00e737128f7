/** Wire types of the protobuf encoding (protobuf.dev/programming-guides/encoding). Groups don't occur in proto3. */
export const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Scalar types the codec knows; the generator refuses a .proto file that needs another. */
export const scalarTypes = ['string', 'bytes', 'bool', 'int32', 'uint32', 'int64', 'uint64', 'double'] as const;

export type ScalarType = (typeof scalarTypes)[number];
export type FieldType = ScalarType | 'enum' | 'message';

export function wireTypeOf(type: FieldType): number {
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

/** How often a field occurs. Maps have string keys. */
export const rules = { single: 0, repeated: 1, map: 2 } as const;
export type Rule = (typeof rules)[keyof typeof rules];

/**
 * One field. `reference` is the full name of its message or enum (empty for a scalar). `presence` names the field
 * that tells which member of a oneof is set; an `optional` field is a oneof of one member.
 */
export type Field = readonly [
  number: number,
  name: string,
  rule: Rule,
  type: FieldType,
  reference?: string,
  presence?: string,
];

export type MessageTable = readonly Field[];

/** Numbers by name. */
export type EnumTable = Readonly<Record<string, number>>;

/** A method of a service; messages by their full names. */
export type MethodTable = readonly [
  name: string,
  request: string,
  response: string,
  clientStreams: boolean,
  serverStreams: boolean,
];
