/** One authentication scheme that a server offers. Scheme and parameter names are lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+/;
const QUOTED = /^"((?:[^"\\]|\\.)*)"/s;

/**
 * Parses the values of WWW-Authenticate headers (RFC 9110, 11.6.1). What can't be parsed ends the value it stands in: a
 * scheme before it still counts.
 */
export function parseChallenges(values: readonly string[]): Challenge[] {
  return values.flatMap(parseValue);
}

function parseValue(value: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let rest = value;
  const take = (pattern: RegExp): string | undefined => {
    const match = pattern.exec(rest);
    if (match === null) return undefined;
    rest = rest.slice(match[0].length);
    return match[1] ?? match[0];
  };
  for (;;) {
    take(/^[\s,]+/);
    const word = take(TOKEN);
    if (word === undefined) return challenges;
    const equals = take(/^\s*=\s*/) !== undefined;
    if (!equals) {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    const quoted = take(QUOTED)?.replace(/\\(.)/gs, '$1');
    const parameter = quoted ?? take(TOKEN) ?? '';
    const current = challenges.at(-1);
    if (current === undefined) return challenges;
    current.parameters.set(word.toLowerCase(), parameter);
  }
}
