/** Metadata of a call: values by lower-case key. */
export type Metadata = Readonly<Record<string, readonly string[]>>;

interface Pair {
  readonly key: string;
  readonly value: string;
}

/** As it goes on the wire: one pair for each value. */
export function metadataPairs(metadata: Metadata): Pair[] {
  return Object.entries(metadata).flatMap(([key, values]) =>
    values.map((value) => ({ key: key.toLowerCase(), value })),
  );
}

export function metadataFrom(pairs: readonly Pair[]): Metadata {
  const values = new Map<string, string[]>();
  for (const { key, value } of pairs) {
    const name = key.toLowerCase();
    const list = values.get(name);
    if (list === undefined) values.set(name, [value]);
    else list.push(value);
  }
  return Object.fromEntries(values);
}
