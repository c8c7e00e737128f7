import { readFile } from 'node:fs/promises';
import { parse, TomlError } from 'smol-toml';
import { BerthError } from '../errors.ts';
import { errnoOf } from '../node-error.ts';
import { keyLines, pathKey } from './key-lines.ts';
import { nearest } from './nearest.ts';
import { type Field, keyInFile, parseDuration, type Table } from './schema.ts';

export interface LoadConfigOptions {
  /** A file that isn't there is the same as an empty one. Default: it is an error. */
  readonly optional?: boolean;
}

/**
 * Reads a TOML file against a schema and fills in the defaults. It is strict: an unknown key, a value of the wrong
 * kind or out of range is an error that names file, line and key, and the nearest key that exists.
 * @throws BerthError `invalid_argument` (content), `not_found` (no such file), or by errno
 */
export async function loadConfig<T>(path: string, schema: Table<T>, options: LoadConfigOptions = {}): Promise<T> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw BerthError.from(error, `read the configuration ${path}`);
    if (options.optional) return schema.default;
    throw new BerthError('not_found', `no configuration file ${path}`, { cause: error });
  }
  return parseConfig(text, schema, path);
}

/** {@link loadConfig} for text that is at hand; `path` is for messages only. */
export function parseConfig<T>(text: string, schema: Table<T>, path: string): T {
  const document = parseToml(text, path);
  const lines = keyLines(text);
  const refuse: Refuse = (keys, why) => {
    const line = lines.get(pathKey(keys));
    throw new BerthError('invalid_argument', `${path}${line === undefined ? '' : `:${line}`}: ${why}`);
  };
  return readTable(document, schema, [], refuse) as T;
}

type Refuse = (keys: readonly string[], why: string) => never;

function parseToml(text: string, path: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '');
    throw new BerthError('invalid_argument', `${path}:${error.line}: ${why}`, { cause: error });
  }
}

function readTable(value: unknown, schema: Table, keys: readonly string[], refuse: Refuse): Record<string, unknown> {
  if (!isTable(value)) return refuse(keys, `${keys.join('.')} must be a table`);
  const names = new Map(Object.keys(schema.fields).map((name) => [keyInFile(name), name]));
  for (const key of Object.keys(value)) {
    if (names.has(key)) continue;
    const known = [...names].filter(([, name]) => schema.fields[name]?.kind !== 'refused').map(([name]) => name);
    const near = nearest(key, known);
    const hint = near === undefined ? `known keys: ${known.join(', ')}` : `did you mean "${near}"?`;
    refuse([...keys, key], `unknown key "${[...keys, key].join('.')}"; ${hint}`);
  }
  const result: Record<string, unknown> = {};
  for (const [key, name] of names) {
    const field = schema.fields[name];
    if (field === undefined) continue;
    result[name] = Object.hasOwn(value, key) ? readField(value[key], field, [...keys, key], refuse) : field.default;
  }
  return result;
}

function readField(value: unknown, field: Field, keys: readonly string[], refuse: Refuse): unknown {
  const wrong = (want: string) => refuse(keys, `${keys.join('.')} must be ${want}, not ${JSON.stringify(value)}`);
  switch (field.kind) {
    case 'string':
      if (typeof value !== 'string') return wrong('a string');
      if (field.oneOf !== undefined && !field.oneOf.includes(value)) return wrong(`one of ${field.oneOf.join(', ')}`);
      return value;
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) return wrong('a whole number');
      if (value < field.min || value > field.max) return wrong(`from ${field.min} to ${field.max}`);
      return value;
    case 'number':
      if (typeof value !== 'number') return wrong('a number');
      if (!(value >= field.min && value <= field.max)) return wrong(`from ${field.min} to ${field.max}`);
      return value;
    case 'boolean':
      return typeof value === 'boolean' ? value : wrong('true or false');
    case 'duration':
      return (typeof value === 'string' ? parseDuration(value) : undefined) ?? wrong('a duration such as "10s"');
    case 'strings':
      return Array.isArray(value) && value.every((item) => typeof item === 'string')
        ? value
        : wrong('a list of strings');
    case 'refused':
      return refuse(keys, `${keys.join('.')}: ${field.why}`);
    case 'map':
      if (!isTable(value)) return wrong('a table');
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, readTable(item, field.entry, [...keys, key], refuse)]),
      );
    case 'table':
      return readTable(value, field, keys, refuse);
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
