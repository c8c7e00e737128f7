import { messageOf } from '../errors.ts';
import { filterError, scanFilter, type Token } from './scanner.ts';

/** Answers the value of a field path of the object under test, `undefined` when it has no such field. */
export type Adaptor = (fieldpath: readonly string[]) => string | undefined;

/** Whether the object behind an adaptor matches. */
export type Filter = (adaptor: Adaptor) => boolean;

/**
 * Parses containerd's filter expressions (package filters): an object matches when any expression does.
 * An expression is a comma-separated list of selectors, all of which must match; a selector is
 * `fieldpath`, `fieldpath==value`, `fieldpath!=value` or `fieldpath~=regex`. Parts of a path and values may be quoted.
 * No expression at all, or an empty one, matches everything.
 * @throws BerthError `invalid_argument`, showing the expression and the place
 */
export function parseFilters(expressions: readonly string[]): Filter {
  if (expressions.length === 0) return () => true;
  const filters = expressions.map(parseFilter);
  return (adaptor) => filters.some((filter) => filter(adaptor));
}

function parseFilter(input: string): Filter {
  if (input === '') return () => true;
  const tokens = scanFilter(input).values();
  const next = (): Token => tokens.next().value ?? { kind: 'end', at: input.length };
  const selectors: Filter[] = [];
  for (;;) {
    const { selector, after } = parseSelector(input, next);
    selectors.push(selector);
    if (after.kind === 'end') break;
    if (after.kind !== 'separator' || after.text !== ',') throw filterError(input, after.at, 'expected ","');
  }
  return (adaptor) => selectors.every((selector) => selector(adaptor));
}

/** One selector, and the token that follows it. */
function parseSelector(input: string, next: () => Token): { selector: Filter; after: Token } {
  const fieldpath: string[] = [];
  let token: Token;
  do {
    fieldpath.push(parseField(input, next()));
    token = next();
  } while (token.kind === 'separator' && token.text === '.');

  if (token.kind === 'end' || token.kind === 'separator') {
    return {
      selector: (adaptor) => adaptor(fieldpath) !== undefined,
      after: token,
    };
  }
  if (token.kind !== 'operator') throw filterError(input, token.at, 'expected "==", "!=" or "~="');
  const operand = next();
  return {
    selector: makeSelector(input, fieldpath, token.text, operand, token.at),
    after: next(),
  };
}

function parseField(input: string, token: Token): string {
  if (token.kind === 'field') return token.text;
  if (token.kind === 'quoted' && token.quote === '"') return token.text;
  throw filterError(input, token.at, 'expected a field name');
}

function makeSelector(input: string, fieldpath: string[], operator: string, operand: Token, at: number): Filter {
  if (operand.kind !== 'value' && operand.kind !== 'field' && operand.kind !== 'quoted') {
    throw filterError(input, operand.at, 'expected a value');
  }
  if (operand.kind === 'quoted' && operand.quote !== '"' && operator !== '~=') {
    throw filterError(input, operand.at, `only "~=" takes a value in ${operand.quote}`);
  }
  const wanted = operand.text;
  switch (operator) {
    case '==':
      return (adaptor) => adaptor(fieldpath) === wanted;
    case '!=':
      // An absent field reads as the empty string, so it differs from any other value.
      return (adaptor) => (adaptor(fieldpath) ?? '') !== wanted;
    case '~=': {
      const expression = compile(input, wanted, operand.at);
      return (adaptor) => expression.test(adaptor(fieldpath) ?? '');
    }
    default:
      throw filterError(input, at, `unknown operator "${operator}"`);
  }
}

function compile(input: string, source: string, at: number): RegExp {
  // Go writes flags for a whole expression at its beginning.
  const [, flags = '', rest = source] = /^\(\?([ims]+)\)(.*)$/s.exec(source) ?? [];
  try {
    return new RegExp(rest.replaceAll('(?P<', '(?<'), flags);
  } catch (error) {
    throw filterError(input, at, messageOf(error));
  }
}
