import { readFile } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { askCredentialHelper } from './credential-helper.ts';
import type { Credentials } from './credentials.ts';

const HUB_HOSTS = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];
/** Docker's own name for its registry, in the file and towards helpers. */
const HUB_SERVER = 'https://index.docker.io/v1/';

interface AuthEntry {
  readonly auth?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly identitytoken?: unknown;
  readonly registrytoken?: unknown;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credHelpers?: Readonly<Record<string, unknown>>;
  readonly credsStore?: unknown;
}

/**
 * The credentials that a `config.json` of Docker has for a registry host: of the helper for that host, of the common
 * helper, or of the file itself. The file is read anew each time; one that isn't there has none.
 * @throws failed_precondition for a file or helper that can't be used; the message holds nothing secret.
 */
export async function dockerCredentials(file: string, host: string): Promise<Credentials | undefined> {
  const config = await readConfig(file);
  if (config === undefined) return undefined;
  const names = HUB_HOSTS.includes(host) ? HUB_HOSTS : [host];
  const server = HUB_HOSTS.includes(host) ? HUB_SERVER : host;
  const { auths = {}, credHelpers = {}, credsStore } = config;
  const own = Object.entries(credHelpers).find(([key]) => names.includes(hostOf(key)));
  if (own !== undefined) return askCredentialHelper(String(own[1]), own[0]);
  if (typeof credsStore === 'string' && credsStore !== '') {
    const stored = await askCredentialHelper(credsStore, server);
    if (stored !== undefined) return stored;
  }
  const entry = Object.entries(auths).find(([key]) => names.includes(hostOf(key)));
  return entry === undefined ? undefined : credentialsOf(entry[1], `${file}: auths."${entry[0]}"`);
}

async function readConfig(file: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw new BerthError('failed_precondition', `can't read ${file}`, { cause: error });
  }
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which holds passwords.
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config;
  throw new BerthError('failed_precondition', `${file} is not a JSON object`);
}

function credentialsOf(entry: AuthEntry, where: string): Credentials | undefined {
  const text = (key: keyof AuthEntry): string => (typeof entry[key] === 'string' ? entry[key] : '');
  if (text('registrytoken') !== '') return { kind: 'header', value: `Bearer ${text('registrytoken')}` };
  if (text('identitytoken') !== '') return { kind: 'refresh', token: text('identitytoken') };
  if (text('auth') === '') {
    const [username, password] = [text('username'), text('password')];
    return username === '' ? undefined : { kind: 'password', username, password };
  }
  const decoded = Buffer.from(text('auth'), 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  if (colon < 0) throw new BerthError('failed_precondition', `${where}: auth must be base64 of user:password`);
  return { kind: 'password', username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

/** Keys are hosts, or URLs as Docker's clients have written them. */
function hostOf(key: string): string {
  return key
    .replace(/^https?:\/\//i, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
}
