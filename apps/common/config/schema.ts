/**
 * A configuration file's shape, as code: each field with its kind and default. Field names are camelCase here and
 * snake_case in the TOML file.
 */
export type Field<T = unknown> =
  | { readonly kind: 'string'; readonly default: T; readonly oneOf?: readonly string[] }
  | { readonly kind: 'integer'; readonly default: T; readonly min: number; readonly max: number }
  | { readonly kind: 'number'; readonly default: T; readonly min: number; readonly max: number }
  | { readonly kind: 'boolean'; readonly default: T }
  | { readonly kind: 'duration'; readonly default: T; readonly text: string }
  | { readonly kind: 'strings'; readonly default: T }
  | { readonly kind: 'refused'; readonly default: T; readonly why: string }
  | { readonly kind: 'map'; readonly default: T; readonly entry: Table }
  | { readonly kind: 'table'; readonly fields: Readonly<Record<string, Field>>; readonly default: T };

export type Table<T = unknown> = Extract<Field<T>, { kind: 'table' }>;

/** The type of the values that a schema describes. */
export type Infer<F> = F extends { readonly default: infer T } ? T : never;

/** Any text. */
export function string(value: string): Field<string> {
  return { kind: 'string', default: value };
}

/** One of a few words. */
export function oneOf<const T extends string>(words: readonly T[], value: NoInfer<T>): Field<T> {
  return { kind: 'string', default: value, oneOf: words };
}

export function integer(value: number, range: { readonly min?: number; readonly max?: number } = {}): Field<number> {
  return { kind: 'integer', default: value, min: range.min ?? 0, max: range.max ?? Number.MAX_SAFE_INTEGER };
}

/** Any number between two others, both included. */
export function number(value: number, { min, max }: { readonly min: number; readonly max: number }): Field<number> {
  return { kind: 'number', default: value, min, max };
}

export function boolean(value: boolean): Field<boolean> {
  return { kind: 'boolean', default: value };
}

/** A time written as `"250ms"`, `"10s"`, `"1h30m"`; the value is in milliseconds. */
export function duration(text: string): Field<number> {
  const ms = parseDuration(text);
  if (ms === undefined) throw new TypeError(`"${text}" is no duration`);
  return { kind: 'duration', default: ms, text };
}

/** A list of texts. */
export function strings(value: readonly string[]): Field<readonly string[]> {
  return { kind: 'strings', default: value };
}

/** A key that others know and we don't: `why` says what to do instead. */
export function refused(why: string): Field<undefined> {
  return { kind: 'refused', default: undefined, why };
}

/** A table whose keys the user chooses (`[runtimes.NAME]`); `entry` describes each of them. */
export function map<T>(entry: Table<T>, value: Readonly<Record<string, T>> = {}): Field<Readonly<Record<string, T>>> {
  return { kind: 'map', default: value, entry };
}

/** A table with fixed fields. */
export function table<F extends Readonly<Record<string, Field>>>(
  fields: F,
): Table<{ readonly [K in keyof F]: Infer<F[K]> }> {
  const value = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.default]));
  return { kind: 'table', fields, default: value as { readonly [K in keyof F]: Infer<F[K]> } };
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `"1h30m"`; `undefined` when the text is no duration. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, amount, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    ms += Number(amount) * (unitMs[unit] ?? 0);
  return ms;
}

/** `binDirs` → `bin_dirs`. */
export function keyInFile(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
