/**
 * The line on which each key of a TOML document stands, by {@link pathKey}. The TOML parser gives values without
 * places; the document has been parsed before, so its syntax is known to be right.
 */
export function keyLines(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  const note = (path: readonly string[], line: number) => {
    const key = pathKey(path);
    if (!lines.has(key)) lines.set(key, line);
  };
  let header: readonly string[] = [];
  let depth = 0;
  let closing: string | undefined;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = index + 1;
    if (closing !== undefined) {
      if (raw.includes(closing)) closing = undefined;
      continue;
    }
    if (depth === 0) {
      const { keys, isHeader } = leadingKeys(raw);
      if (isHeader) header = keys;
      const path = isHeader ? keys : [...header, ...keys];
      if (keys.length > 0) for (let n = 1; n <= path.length; n++) note(path.slice(0, n), line);
      if (isHeader) continue;
    }
    // Values may go on over lines: strings in triple quotes, and arrays until their bracket closes.
    closing = openedString(raw);
    depth = Math.max(0, depth + bracketBalance(raw));
  }
  return lines;
}

/** How {@link keyLines} writes a path. */
export function pathKey(path: readonly string[]): string {
  return path.join('\0');
}

const bare = /^\s*([A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')\s*/;

function leadingKeys(raw: string): { keys: string[]; isHeader: boolean } {
  const open = /^\s*\[{1,2}/.exec(raw);
  let rest = open === null ? raw : raw.slice(open[0].length);
  const keys: string[] = [];
  for (;;) {
    const match = bare.exec(rest);
    if (match === null) return { keys: [], isHeader: false };
    keys.push(unquote(match[1] ?? ''));
    rest = rest.slice(match[0].length);
    if (!rest.startsWith('.')) break;
    rest = rest.slice(1);
  }
  if (open !== null) return { keys, isHeader: rest.startsWith(']') };
  return { keys: rest.startsWith('=') ? keys : [], isHeader: false };
}

function unquote(key: string): string {
  if (key.startsWith('"')) return JSON.parse(key) as string;
  return key.startsWith("'") ? key.slice(1, -1) : key;
}

function openedString(raw: string): string | undefined {
  for (const quote of ['"""', "'''"]) {
    if (raw.split(quote).length % 2 === 0) return quote;
  }
  return undefined;
}

function bracketBalance(raw: string): number {
  const bareText = raw.replace(/"(?:\\.|[^"\\])*"|'[^']*'/g, '').replace(/#.*/, '');
  return (bareText.match(/\[/g)?.length ?? 0) - (bareText.match(/\]/g)?.length ?? 0);
}
