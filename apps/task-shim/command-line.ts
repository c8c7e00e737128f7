import { BerthError } from '#common/errors.ts';

/** How a daemon calls a shim: containerd's `core/runtime/v2/README.md`, "Commands" and "Flags". */
export interface CommandLine {
  readonly action: 'start' | 'delete' | 'serve' | 'template' | 'version' | 'info';
  readonly namespace: string;
  readonly id: string;
  /** The daemon's gRPC socket. */
  readonly address: string;
  readonly bundle: string;
  /** Where `serve` listens; `start` says so. */
  readonly socket: string;
  readonly debug: boolean;
}

const valueFlags = ['namespace', 'id', 'address', 'publish-binary', 'bundle', 'socket'] as const;
const switches = ['debug', 'v', 'version', 'info'] as const;

/** Parses Go's flag syntax: `-name value`, `-name=value`, with one or two dashes. Flags end at the action. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const values = new Map<string, string>();
  let index = 0;
  for (; index < args.length; index++) {
    const match = /^--?([a-z-]+)(?:=(.*))?$/s.exec(args[index] ?? '');
    if (match === null) break;
    const [, name = '', inline] = match;
    if ((switches as readonly string[]).includes(name)) values.set(name, inline ?? 'true');
    else if ((valueFlags as readonly string[]).includes(name))
      values.set(name, inline ?? required(args[++index], name));
    else throw new BerthError('invalid_argument', `flag provided but not defined: -${name}`);
  }
  const line = {
    namespace: values.get('namespace') ?? '',
    id: values.get('id') ?? '',
    address: values.get('address') ?? '',
    bundle: values.get('bundle') ?? '',
    socket: values.get('socket') ?? '',
    debug: values.get('debug') === 'true',
  };
  if (values.has('v') || values.has('version')) return { ...line, action: 'version' };
  if (values.has('info')) return { ...line, action: 'info' };
  const action = args[index];
  if (action === 'template') return { ...line, action };
  if (action !== 'start' && action !== 'delete' && action !== 'serve') {
    throw new BerthError('invalid_argument', `the action must be start or delete, not ${JSON.stringify(action ?? '')}`);
  }
  if (line.namespace === '') throw new BerthError('invalid_argument', 'shim namespace cannot be empty');
  if (line.id === '') throw new BerthError('invalid_argument', 'shim id cannot be empty');
  return { ...line, action };
}

function required(value: string | undefined, flag: string): string {
  if (value === undefined) throw new BerthError('invalid_argument', `flag needs an argument: -${flag}`);
  return value;
}
