/** Lines of a key and a value. */
export function flatKeyed(text: string | undefined): Map<string, string> {
  return new Map(linesOf(text).map((line) => line.split(' ', 2) as [string, string]));
}

/** The value of one line of a flat keyed file: where few are wanted, a search costs a tenth of taking it apart. */
export function flatValue(text: string | undefined, key: string): string | undefined {
  if (text === undefined) return undefined;
  const start = `${key} `;
  let from = start.length;
  if (!text.startsWith(start)) {
    const before = text.indexOf(`\n${start}`);
    if (before < 0) return undefined;
    from += before + 1;
  }
  const end = text.indexOf('\n', from);
  return text.slice(from, end < 0 ? undefined : end);
}

/** The values of a flat keyed file as fields of a message: `usage_usec` → `usageUsec`. */
export function counters(text: string | undefined): object {
  return Object.fromEntries([...flatKeyed(text)].map(([name, value]) => [camelCase(name), value]));
}

export function linesOf(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter(Boolean);
}

export function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
