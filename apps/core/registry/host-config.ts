import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { fetchHostCredentials } from './host-credentials.ts';
import type { RegistryHost } from './hosts.ts';
import { type HostEntry, parseHostsFile } from './hosts-file.ts';
import type { TlsOptions } from './http.ts';
import { isLoopback } from './loopback.ts';

const CONNECT_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 60_000;

export interface HostConfigOptions {
  /** Directory with a folder for each registry, `certs.d`. Absent: defaults only. */
  readonly hostDir?: string | undefined;
  /** Scheme for registries that no file describes; absent: https, http for loopback. */
  readonly defaultScheme?: 'http' | 'https' | undefined;
  /** Milliseconds without a byte after which a server counts as gone. */
  readonly idleMs?: number | undefined;
}

/**
 * The servers to ask for a registry (`docker.io`, `localhost:5000`), in order: mirrors first, itself last. The files are
 * read anew every time, so a change holds from the next pull on.
 * @throws failed_precondition for a file that can't be used.
 */
export async function registryHosts(registry: string, options: HostConfigOptions): Promise<RegistryHost[]> {
  const dir = options.hostDir === undefined ? undefined : await findFolder(options.hostDir, registry);
  const entries = dir === undefined ? [BARE] : await readFolder(dir);
  return Promise.all(
    entries.map(async (entry) => ({
      base: entry.server ?? defaultBase(registry, options.defaultScheme),
      capabilities: new Set(entry.capabilities),
      tls: await readTls(entry, dir ?? '/'),
      headers: entry.headers,
      timeouts: { connectMs: entry.dialTimeoutMs ?? CONNECT_TIMEOUT_MS, idleMs: options.idleMs ?? IDLE_TIMEOUT_MS },
      credentials: credentialsOf(entry, dir ?? '/'),
    })),
  );
}

const BARE: HostEntry = {
  server: undefined,
  capabilities: ['pull', 'resolve', 'push', 'referrers'],
  ca: [],
  client: [],
  skipVerify: undefined,
  headers: {},
  dialTimeoutMs: undefined,
  credentials: undefined,
};

function credentialsOf({ credentials }: HostEntry, dir: string): RegistryHost['credentials'] {
  return credentials === undefined ? undefined : (host) => fetchHostCredentials(credentials, dir, host);
}

function defaultBase(registry: string, scheme: 'http' | 'https' | undefined): URL {
  if (registry === 'docker.io') return new URL('https://registry-1.docker.io/v2');
  const plain = isLoopback(registry) && !/:443$/.test(registry);
  return new URL(`${scheme ?? (plain ? 'http' : 'https')}://${registry}/v2`);
}

/** `host_port_` for file systems without colons, `host:port`, `_default` for all others. */
async function findFolder(root: string, registry: string): Promise<string | undefined> {
  const names = new Set([registry.replace(/:([0-9]+)$/, '_$1_'), registry, '_default']);
  const present = new Set(await listFolder(root));
  const name = [...names].find((candidate) => present.has(candidate));
  return name === undefined ? undefined : join(root, name);
}

async function readFolder(dir: string): Promise<HostEntry[]> {
  const file = join(dir, 'hosts.toml');
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (hasErrno(error, 'ENOENT')) return '';
    throw BerthError.from(error, file);
  });
  return text.trim() === '' ? [await dockerCertificates(dir)] : parseHostsFile(text, file);
}

/** Docker's layout: `*.crt` are CAs, `*.cert` client certificates with their `*.key`. */
async function dockerCertificates(dir: string): Promise<HostEntry> {
  const names = await listFolder(dir);
  const client = names
    .filter((name) => name.endsWith('.cert'))
    .map((name) => {
      const key = name.replace(/cert$/, 'key');
      return [name, names.includes(key) ? key : ''] as const;
    });
  return { ...BARE, ca: names.filter((name) => name.endsWith('.crt')), client };
}

async function listFolder(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw BerthError.from(error, dir);
  }
}

async function readTls(entry: HostEntry, dir: string): Promise<TlsOptions> {
  const read = async (name: string): Promise<string> => {
    const path = resolve(dir, name);
    return readFile(path, 'utf8').catch((error: unknown) => {
      throw new BerthError('failed_precondition', `can't read the certificate file ${path}`, { cause: error });
    });
  };
  const ca = await Promise.all(entry.ca.map(read));
  const clientPairs = await Promise.all(
    entry.client.map(async ([cert, key]) => ({ cert: await read(cert), key: await read(key === '' ? cert : key) })),
  );
  return {
    ...(ca.length === 0 ? {} : { ca }),
    ...(clientPairs.length === 0 ? {} : { clientPairs }),
    ...(entry.skipVerify === undefined ? {} : { skipVerify: entry.skipVerify }),
  };
}
