/** Reports what is wrong with a file, by the file's name. */
export type Refuse = (why: string) => never;

export type Table = Readonly<Record<string, unknown>>;

export function checkKeys(entry: Table, known: readonly string[], where: string, refuse: Refuse): void {
  const unknown = Object.keys(entry).find((key) => !known.includes(key));
  if (unknown !== undefined) refuse(`unknown key "${where}${unknown}"; known: ${known.join(', ')}`);
}

export function table(value: unknown, where: string, refuse: Refuse): Table {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${where} must be a table`);
  return value as Table;
}

export function string(value: unknown, where: string, refuse: Refuse): string {
  return typeof value === 'string' ? value : refuse(`${where} must be a string`);
}

export function boolean(value: unknown, where: string, refuse: Refuse): boolean {
  return typeof value === 'boolean' ? value : refuse(`${where} must be true or false`);
}

export function strings(value: unknown, where: string, refuse: Refuse): string[] {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return refuse(`${where} must be a string or a list of strings`);
  return value.map((item) => string(item, where, refuse));
}
