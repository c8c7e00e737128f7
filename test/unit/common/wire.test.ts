import { globSync } from 'node:fs';
import { loadSync, type MessageTypeDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import { describe, expect, it } from 'vitest';
import { serviceDefinition } from '#common/grpc/proto.ts';
import { protoOptions, protoRoot } from '#common/proto/options.ts';
import { decode, encode, type MessageName } from '#common/wire/codec.ts';
import { encodePages } from '#common/wire/pages.ts';
import { type Field, rules } from '#common/wire/schema.ts';
import { services } from '#proto/services.ts';
import { enums, messages } from '#proto/wire.ts';

const definitions = loadSync(globSync('**/*.proto', { cwd: protoRoot }), {
  ...protoOptions,
  includeDirs: [protoRoot],
});

/** The reference implementation. */
function reference(name: string): MessageTypeDefinition<object, object> {
  const definition = definitions[name];
  if (definition === undefined || !('serialize' in definition)) throw new Error(`no message ${name}`);
  return definition as MessageTypeDefinition<object, object>;
}

const topLevel = (Object.keys(messages) as MessageName[]).filter((name) => name in definitions);

describe('the wire codec', () => {
  it('knows every message that has a table in the reference, apart from nested ones', () => {
    expect(topLevel.length).toBeGreaterThan(150);
    expect(Object.keys(messages).length - topLevel.length).toBeLessThan(10);
  });

  describe.each(topLevel)('%s', (name) => {
    it('reads what the reference writes, and the other way round', () => {
      const random = randomFrom(name);
      for (let round = 0; round < 25; round++) {
        const value = randomMessage(random, messages[name]);
        const theirs = reference(name).serialize(value);
        const ours = encode(name, value as never);
        const expected = reference(name).deserialize(theirs);
        expect(decode(name, theirs)).toEqual(expected);
        expect(reference(name).deserialize(Buffer.from(ours))).toEqual(expected);
        expect(decode(name, ours)).toEqual(expected);
      }
    });

    it('gives an empty message the defaults of the reference', () => {
      expect(encode(name, {} as never)).toHaveLength(0);
      expect(decode(name, new Uint8Array())).toEqual(reference(name).deserialize(Buffer.alloc(0)));
    });
  });

  it.each([0, 1, 31, 32, 33, 100])('makes one message of %i items that are encoded a page at a time', (count) => {
    const names = Array.from({ length: count }, (_, index) => `n${index}`);
    const type = 'containerd.services.namespaces.v1.ListNamespacesResponse';
    const encoded = encodePages(type, names, (page) => ({ namespaces: page.map((name) => ({ name })) }));
    expect(decode(type, encoded).namespaces.map(({ name }) => name)).toEqual(names);
  });

  it('makes one message, in order, of items of which some are encoded already', () => {
    const type = 'containerd.services.namespaces.v1.ListNamespacesResponse';
    const message = (page: readonly string[]) => ({ namespaces: page.map((name) => ({ name })) });
    const items = ['a', encode(type, message(['b'])), encode(type, message(['c', 'd'])), 'e', 'f', encode(type, {})];
    const encoded = encodePages<typeof type, string>(type, items, message);
    expect(decode(type, encoded).namespaces.map(({ name }) => name)).toEqual([...'abcdef']);
  });

  it('keeps what is longer than the memory that all messages begin in', () => {
    const value = Buffer.from('0123456789abcdef'.repeat(5000));
    for (const length of [127, 128, 16_383, 16_384, 80_000]) {
      const message = { type_url: 'ä'.repeat(40), value: value.subarray(0, length) };
      const sent = encode('containerd.types.Envelope', { topic: 'first', event: message });
      encode('google.protobuf.Any', { type_url: 'x'.repeat(16_000), value: Buffer.alloc(0) });
      expect(decode('containerd.types.Envelope', sent)).toMatchObject({ topic: 'first', event: message });
    }
  });

  it('keeps 64-bit numbers exact at their extremes', () => {
    for (const seconds of ['9223372036854775807', '-9223372036854775808', '-1', '9007199254740993', '0']) {
      expect(decode('google.protobuf.Timestamp', encode('google.protobuf.Timestamp', { seconds })).seconds).toBe(
        seconds,
      );
    }
    const limit = '18446744073709551615';
    const bytes = encode('io.containerd.cgroups.v1.PidsStat', { current: limit, limit: Number.MAX_SAFE_INTEGER });
    expect(decode('io.containerd.cgroups.v1.PidsStat', bytes)).toEqual({ current: limit, limit: '9007199254740991' });
  });

  it('takes 64-bit numbers as bigint and as Long', () => {
    const long = { low: -1, high: 0x7fffffff, unsigned: false };
    const bytes = encode('google.protobuf.Timestamp', { seconds: long as never });
    expect(decode('google.protobuf.Timestamp', bytes).seconds).toBe('9223372036854775807');
    const big = encode('google.protobuf.Timestamp', { seconds: -5n as never });
    expect(decode('google.protobuf.Timestamp', big).seconds).toBe('-5');
  });

  it('reads negative enum values by name and unknown ones as numbers', () => {
    const name = 'containerd.runtime.bootstrap.v1.BootstrapParams';
    expect(decode(name, encode(name, { logLevel: 'LOG_LEVEL_TRACE' })).logLevel).toBe('LOG_LEVEL_TRACE');
    expect(decode(name, encode(name, { logLevel: -77 as never })).logLevel).toBe(-77);
  });

  it('tells an optional field that holds its default from an absent one', () => {
    const name = 'containerd.runtime.bootstrap.v1.BootstrapParams';
    const sent = decode(name, encode(name, { socketDir: '' }));
    expect(sent).toMatchObject({ socketDir: '', _socketDir: 'socketDir' });
    expect(decode(name, encode(name, {}))).not.toHaveProperty('socketDir');
  });

  it('reads repeated numbers packed and one by one', () => {
    const packed = Buffer.from([0x22, 3, 1, 0x80, 1]);
    const single = Buffer.from([0x20, 1, 0x20, 0x80, 1]);
    for (const bytes of [packed, single]) {
      expect(decode('io.containerd.cgroups.v1.CPUUsage', bytes).perCpu).toEqual(['1', '128']);
    }
  });

  it('skips unknown fields of every wire type, and known ones of the wrong wire type', () => {
    const unknown = [
      ...[0xa0, 0x06, 0xff, 0x01],
      ...[0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
      ...[0xa2, 0x06, 2, 1, 2],
      ...[0xa5, 0x06, 1, 2, 3, 4],
      ...[0x08, 0x05],
    ];
    const bytes = Buffer.from([...unknown, ...encode('containerd.task.v2.StateRequest', { id: 'a' }), ...unknown]);
    expect(decode('containerd.task.v2.StateRequest', bytes)).toEqual({ id: 'a', execId: '' });
  });

  it('refuses truncated and malformed input with invalid_argument', () => {
    const whole = encode('containerd.task.v2.StateRequest', { id: 'abc', execId: 'x' });
    const malformed = [
      whole.subarray(0, 3),
      whole.subarray(0, 1),
      Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
      Buffer.from([0x03]),
      Buffer.from([0x00, 0x00]),
      Buffer.alloc(12, 0xff),
    ];
    for (const bytes of malformed) {
      expect(() => decode('containerd.task.v2.StateRequest', bytes)).toThrowError(
        expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('StateRequest') }),
      );
    }
  });

  it('refuses an enum name that does not exist', () => {
    expect(() => encode('containerd.task.v2.StateResponse', { status: 'SLEEPING' as never })).toThrowError(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('SLEEPING') }),
    );
  });

  it('keeps a map key named __proto__ an ordinary key', () => {
    const labels = JSON.parse('{"__proto__":"x","a":"b"}') as Record<string, string>;
    const read = decode('containerd.types.Sandbox', encode('containerd.types.Sandbox', { labels }));
    expect(Object.entries(read.labels)).toEqual(Object.entries(labels));
  });

  it('reads bytes from an array that is no Buffer and starts inside its memory', () => {
    const memory = new Uint8Array([9, 9, 0x0a, 1, 0x61]);
    expect(decode('containerd.task.v2.StateRequest', memory.subarray(2)).id).toBe('a');
  });
});

describe('the definition of a service', () => {
  const names = Object.keys(services).filter((name) => name in definitions);

  it.each(names)('%s is that of the reference', (name) => {
    const reference = definitions[name] as ServiceDefinition;
    const definition = serviceDefinition(name);
    expect(Object.keys(definition)).toEqual(Object.keys(reference));
    const empty = Buffer.alloc(0);
    for (const [method, theirs] of Object.entries(reference)) {
      const { path, requestStream, responseStream } = theirs;
      const ours = definition[method] as (typeof definition)[string];
      expect(ours).toMatchObject({ path, requestStream, responseStream });
      expect(ours.requestDeserialize(empty)).toEqual(theirs.requestDeserialize(empty));
      expect(ours.responseDeserialize(empty)).toEqual(theirs.responseDeserialize(empty));
    }
  });

  it('is missed with an internal error', () => {
    expect(() => serviceDefinition('no.Such')).toThrowError(expect.objectContaining({ code: 'internal' }));
  });
});

// Random messages

type Random = () => number;

/** mulberry32, seeded by a name: failures come again. */
function randomFrom(seed: string): Random {
  let state = [...seed].reduce((hash, char) => Math.imul(hash ^ char.charCodeAt(0), 0x01000193), 0x811c9dc5);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)] as T;
}

function randomMessage(random: Random, table: readonly Field[]): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const field of table) {
    if (random() < 0.3) continue;
    const [, name, rule] = field;
    const count = Math.floor(random() * 4);
    if (rule === rules.single) message[name] = randomValue(random, field);
    else if (rule === rules.repeated) message[name] = Array.from({ length: count }, () => randomValue(random, field));
    else {
      message[name] = Object.fromEntries(
        Array.from({ length: count }, (_, index) => [`key-${index}`, randomValue(random, field)]),
      );
    }
  }
  return message;
}

function randomValue(random: Random, [, , , type, name]: Field): unknown {
  switch (type) {
    case 'string':
      return pick(random, ['', 'a', 'sandbox-1', 'ä€😀', 'x'.repeat(300)]);
    case 'bytes':
      return Buffer.alloc(Math.floor(random() * 400), Math.floor(random() * 256));
    case 'bool':
      return random() < 0.5;
    case 'int32':
      return pick(random, [0, 1, -1, 127, 128, 2147483647, -2147483648]);
    case 'uint32':
      return pick(random, [0, 1, 127, 128, 300, 4294967295]);
    case 'int64':
      return pick(random, [
        '0',
        '1',
        '-1',
        '4294967296',
        '1700000000123456789',
        '9223372036854775807',
        '-9223372036854775808',
      ]);
    case 'uint64':
      return pick(random, ['0', '128', '4294967296', '9007199254740993', '18446744073709551615']);
    case 'double':
      return pick(random, [0, -0, 0.1, -12.5, Number.MAX_VALUE, Number.POSITIVE_INFINITY]);
    case 'enum':
      return pick(random, Object.keys(enums[name as string] ?? {}));
    case 'message':
      return randomMessage(random, messages[name as MessageName]);
  }
}
