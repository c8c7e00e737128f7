import { BerthError } from '#common/errors.ts';

/** What a template may name: containerd's fields, so that its templates can be taken over. */
export interface TemplateFields {
  /** The first of the pod address ranges. */
  readonly PodCIDR: string;
  readonly PodCIDRRanges: readonly string[];
  /** Default routes of the families that the ranges have. */
  readonly Routes: readonly string[];
}

type Value = string | number | boolean | readonly string[];
type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'value'; readonly name: string }
  | { readonly kind: 'if'; readonly name: string; readonly body: Node[]; readonly otherwise: Node[] }
  | { readonly kind: 'range'; readonly name: string; readonly as: readonly string[]; readonly body: Node[] };

/**
 * A CNI configuration of a template in the syntax of Go's text/template, as much of it as configurations use: fields,
 * variables, `if`, `else`, `range`, `end`, comments and `-` for trimming.
 *
 * @throws failed_precondition naming what isn't understood.
 */
export function renderTemplate(template: string, fields: TemplateFields): string {
  const tokens = tokenize(template);
  const nodes = parseBlock(tokens, false);
  return render(nodes, new Map<string, Value>(Object.entries(fields).map(([key, value]) => [`.${key}`, value])));
}

interface Token {
  readonly action: boolean;
  readonly text: string;
}

function tokenize(template: string): Token[] {
  const tokens: Token[] = [];
  let rest = template;
  for (;;) {
    const match = /^(.*?)\{\{(-\s)?(.*?)(\s-)?\}\}/s.exec(rest);
    if (match === null) break;
    const [whole, before = '', trimBefore, action = '', trimAfter] = match;
    tokens.push({ action: false, text: trimBefore === undefined ? before : before.trimEnd() });
    if (!/^\s*\/\*.*\*\/\s*$/s.test(action)) tokens.push({ action: true, text: action.trim() });
    rest = rest.slice(whole.length);
    if (trimAfter !== undefined) rest = rest.trimStart();
  }
  tokens.push({ action: false, text: rest });
  return tokens.reverse();
}

/** Takes tokens off the end of the reversed list, up to the `end` or `else` that closes the block. */
function parseBlock(tokens: Token[], nested: boolean): Node[] {
  const nodes: Node[] = [];
  for (let token = tokens.pop(); token !== undefined; token = tokens.pop()) {
    const { action, text } = token;
    if (!action) {
      nodes.push({ kind: 'text', text });
      continue;
    }
    if (text === 'end' || text === 'else') {
      if (!nested) throw refuse(text, 'closes nothing');
      if (text === 'else') tokens.push(token);
      return nodes;
    }
    nodes.push(parseAction(text, tokens));
  }
  if (nested) throw refuse('if or range', 'has no end');
  return nodes;
}

const name = '[.$][A-Za-z0-9_]*';
const ifAction = new RegExp(`^if\\s+(${name})$`);
const rangeAction = new RegExp(`^range\\s+(?:(\\$\\w+)\\s*(?:,\\s*(\\$\\w+)\\s*)?:=\\s*)?(${name})$`);
const valueAction = new RegExp(`^${name}$`);

function parseAction(text: string, tokens: Token[]): Node {
  const condition = ifAction.exec(text)?.[1];
  if (condition !== undefined) {
    const body = parseBlock(tokens, true);
    const hasElse = tokens.at(-1)?.action === true && tokens.at(-1)?.text === 'else';
    if (hasElse) tokens.pop();
    return { kind: 'if', name: condition, body, otherwise: hasElse ? parseBlock(tokens, true) : [] };
  }
  const range = rangeAction.exec(text);
  if (range !== null) {
    const [, first, second, list = ''] = range;
    const as = second === undefined ? ['', first ?? ''] : [first ?? '', second];
    return { kind: 'range', name: list, as, body: parseBlock(tokens, true) };
  }
  if (valueAction.test(text)) return { kind: 'value', name: text };
  throw refuse(text, 'is not understood');
}

function render(nodes: readonly Node[], scope: ReadonlyMap<string, Value>): string {
  return nodes.map((node) => renderNode(node, scope)).join('');
}

function renderNode(node: Node, scope: ReadonlyMap<string, Value>): string {
  if (node.kind === 'text') return node.text;
  const value = scope.get(node.name);
  if (value === undefined) throw refuse(node.name, 'is unknown: there are .PodCIDR, .PodCIDRRanges and .Routes');
  if (node.kind === 'value') return String(value);
  if (node.kind === 'if') {
    const holds = Array.isArray(value) ? value.length > 0 : Boolean(value);
    return render(holds ? node.body : node.otherwise, scope);
  }
  if (!Array.isArray(value)) throw refuse(node.name, 'is no list');
  const [index = '', item = ''] = node.as;
  const scopes = value.map((each: string, at) => new Map([...scope, [index, at], [item, each], ['.', each]]));
  return scopes.map((inner) => render(node.body, inner)).join('');
}

function refuse(action: string, why: string): BerthError {
  return new BerthError('failed_precondition', `template of the CNI configuration: {{${action}}} ${why}`);
}
