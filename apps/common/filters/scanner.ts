import { BerthError } from '../errors.ts';

export type Token =
  | {
      readonly kind: 'field' | 'value' | 'operator' | 'separator';
      readonly text: string;
      readonly at: number;
    }
  | {
      readonly kind: 'quoted';
      readonly text: string;
      readonly quote: string;
      readonly at: number;
    }
  | { readonly kind: 'end'; readonly at: number };

const blank = /\s+/y;
const operator = /[=!~]+/y;
const field = /[A-Za-z0-9_]+/y;
const value = /[^\s,]+/y;
/** `"…"`, and for regular expressions also `/…/` and `|…|`; a backslash escapes. */
const quoted = /(["/|])((?:\\.|(?!\1)[^\\\n])*)\1/y;

/** Splits one filter expression into tokens. After an operator comes a value, which may hold nearly anything. */
export function scanFilter(input: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let afterOperator = false;
  const match = (form: RegExp): RegExpExecArray | null => {
    form.lastIndex = at;
    return form.exec(input);
  };
  while (at < input.length) {
    const space = match(blank);
    if (space !== null) {
      at += space[0].length;
      continue;
    }
    const found = match(quoted);
    if (found !== null) {
      const [whole, quote = '', body = ''] = found;
      tokens.push({
        kind: 'quoted',
        quote,
        text: unescapeText(body, quote, input, at),
        at,
      });
      at += whole.length;
      afterOperator = false;
      continue;
    }
    const [kind, text] = scanPlain(match, afterOperator, input, at);
    tokens.push({ kind, text, at });
    at += text.length;
    afterOperator = kind === 'operator';
  }
  tokens.push({ kind: 'end', at });
  return tokens;
}

/** The error for a filter that can't be parsed: it shows the input and the place. */
export function filterError(input: string, at: number, why: string): BerthError {
  return new BerthError('invalid_argument', `invalid filter "${input}" at position ${at + 1}: ${why}`);
}

function scanPlain(
  match: (form: RegExp) => RegExpExecArray | null,
  afterOperator: boolean,
  input: string,
  at: number,
): ['separator' | 'operator' | 'value' | 'field', string] {
  const first = input.charAt(at);
  if (first === '"' || first === '/' || first === '|') throw filterError(input, at, 'quote is not closed');
  if (first === ',' || first === '.') return ['separator', first];
  const sign = match(operator);
  if (sign !== null) return ['operator', sign[0]];
  const found = match(afterOperator ? value : field);
  if (found === null) throw filterError(input, at, `unexpected "${first}"`);
  return [afterOperator ? 'value' : 'field', found[0]];
}

const simpleEscapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};

/** Go string escapes. Within `/` and `|` only the delimiter is special: the rest belongs to the regular expression. */
function unescapeText(body: string, quote: string, input: string, at: number): string {
  if (quote !== '"') return body.replaceAll(`\\${quote}`, quote);
  const escapes = /\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})|(.))/g;
  return body.replace(escapes, (_, byte, short, long, octal, single) => {
    const hex = byte ?? short ?? long;
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
    const plain = single === quote ? quote : simpleEscapes[single as string];
    if (plain === undefined) throw filterError(input, at, `unknown escape "\\${single}"`);
    return plain;
  });
}
