import { parse, TomlError } from 'smol-toml';
import { BerthError } from '#common/errors.ts';
import { type HostCredentials, parseHostCredentials } from './host-credentials.ts';
import type { Capability } from './hosts.ts';
import { boolean, checkKeys, type Refuse, string, strings, type Table, table } from './toml-values.ts';

/** One server of a hosts.toml; paths of certificates as they stand there. */
export interface HostEntry {
  /** Undefined at the top level when the file names no server: the registry itself. */
  readonly server: URL | undefined;
  readonly capabilities: readonly Capability[];
  readonly ca: readonly string[];
  /** Certificate and key file, or one file with both. */
  readonly client: readonly (readonly [string, string])[];
  readonly skipVerify: boolean | undefined;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly dialTimeoutMs: number | undefined;
  /** Absent: those of the client, or of the daemon's own configuration. */
  readonly credentials: HostCredentials | undefined;
}

const ALL: readonly Capability[] = ['pull', 'resolve', 'push', 'referrers'];
const HOST_KEYS = [
  'capabilities',
  'ca',
  'client',
  'skip_verify',
  'header',
  'override_path',
  'dial_timeout',
  'credentials',
];
const TOP_KEYS = [...HOST_KEYS, 'server', 'host'];

/**
 * Parses a hosts.toml (containerd, docs/hosts.md, and the table `credentials` on top of it): mirrors in the order of the file, the server itself last.
 * @throws failed_precondition that names the file, the key and what it wants.
 */
export function parseHostsFile(text: string, file: string): HostEntry[] {
  const refuse = (why: string): never => {
    throw new BerthError('failed_precondition', `${file}: ${why}`);
  };
  const top = parseToml(text, refuse);
  checkKeys(top, TOP_KEYS, '', refuse);
  const mirrors = Object.entries(table(top.host ?? {}, 'host', refuse)).map(([server, value]) => {
    const where = `host."${server}"`;
    const entry = table(value, where, refuse);
    checkKeys(entry, HOST_KEYS, `${where}.`, refuse);
    return hostEntry(entry, server, where, refuse);
  });
  const server = top.server === undefined ? undefined : string(top.server, 'server', refuse);
  return [...mirrors, hostEntry(top, server === '' ? undefined : server, 'server', refuse)];
}

function parseToml(text: string, refuse: Refuse): Table {
  try {
    return parse(text);
  } catch (error) {
    return refuse(error instanceof TomlError ? `line ${error.line}: ${error.message.split('\n')[0]}` : String(error));
  }
}

function hostEntry(entry: Table, server: string | undefined, where: string, refuse: Refuse): HostEntry {
  const optional = <T>(key: string, read: (value: unknown, where: string, refuse: Refuse) => T): T | undefined =>
    entry[key] === undefined ? undefined : read(entry[key], `${where}.${key}`, refuse);
  const override = optional('override_path', boolean) ?? false;
  const capabilities = optional('capabilities', strings)?.map((name) => {
    const known = ALL.find((capability) => capability === name.toLowerCase());
    return known ?? refuse(`${where}.capabilities: unknown capability "${name}"; known: ${ALL.join(', ')}`);
  });
  return {
    server: server === undefined ? undefined : baseUrl(server, override, where, refuse),
    capabilities: capabilities === undefined || capabilities.length === 0 ? ALL : capabilities,
    ca: optional('ca', strings) ?? [],
    client: optional('client', clientPairs) ?? [],
    skipVerify: optional('skip_verify', boolean),
    headers: optional('header', headers) ?? {},
    dialTimeoutMs: optional('dial_timeout', duration),
    credentials: optional('credentials', parseHostCredentials),
  };
}

/** The API lies below /v2, unless the file says that the path is complete. */
function baseUrl(server: string, override: boolean, where: string, refuse: Refuse): URL {
  const text = /^https?:\/\//.test(server) ? server : `https://${server}`;
  const url = URL.canParse(text) ? new URL(text) : refuse(`${where}: "${server}" is not a URL`);
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = override || path.endsWith('/v2') ? path : `${path}/v2`;
  return url;
}

function clientPairs(value: unknown, where: string, refuse: Refuse): [string, string][] {
  if (typeof value === 'string') return [[value, '']];
  if (!Array.isArray(value)) return refuse(`${where} must be a path, a list of paths or a list of pairs`);
  return value.map((item) => {
    if (typeof item === 'string') return [item, ''];
    const pair = strings(item, where, refuse);
    return pair.length === 2 ? [pair[0] as string, pair[1] as string] : refuse(`${where} must hold pairs of paths`);
  });
}

function headers(value: unknown, where: string, refuse: Refuse): Record<string, string | string[]> {
  const entries = Object.entries(table(value, where, refuse));
  return Object.fromEntries(entries.map(([name, item]) => [name, strings(item, `${where}.${name}`, refuse)]));
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations: `1m30s`, `500ms`. */
function duration(value: unknown, where: string, refuse: Refuse): number {
  const text = string(value, where, refuse);
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text)) refuse(`${where}: "${text}" is not a duration such as "30s"`);
  const parts = text.matchAll(/([0-9.]+)(ms|s|m|h)/g);
  return parts.reduce((total, [, number, unit]) => total + Number(number) * (UNITS[unit as string] as number), 0);
}
