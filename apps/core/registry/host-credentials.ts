import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { askCredentialHelper } from './credential-helper.ts';
import type { Credentials } from './credentials.ts';
import { dockerCredentials } from './docker-config.ts';
import { checkKeys, type Refuse, string, table } from './toml-values.ts';

/** Where the credentials for one host come from: the table `credentials` of a hosts.toml, paths as they stand there. */
export type HostCredentials =
  | { readonly from: 'password'; readonly username: string; readonly password: string }
  | { readonly from: 'file'; readonly username: string; readonly passwordFile: string }
  | { readonly from: 'token'; readonly identityToken: string }
  /** `docker-credential-<helper>` */
  | { readonly from: 'helper'; readonly helper: string }
  | { readonly from: 'docker'; readonly dockerConfig: string };

const KEYS = ['username', 'password', 'password_file', 'identity_token', 'helper', 'docker_config'];
const CHOICE =
  'give one of: username with password or password_file; identity_token; helper; docker_config (a config.json of Docker)';

/** Reads the table of a hosts.toml. */
export function parseHostCredentials(value: unknown, where: string, refuse: Refuse): HostCredentials {
  const entry = table(value, where, refuse);
  checkKeys(entry, KEYS, `${where}.`, refuse);
  const text = (key: string): string => string(entry[key] ?? '', `${where}.${key}`, refuse);
  const [username, password, passwordFile] = [text('username'), text('password'), text('password_file')];
  const [identityToken, helper, dockerConfig] = [text('identity_token'), text('helper'), text('docker_config')];
  const choices: HostCredentials[] = [];
  if (password !== '') choices.push({ from: 'password', username, password });
  if (passwordFile !== '') choices.push({ from: 'file', username, passwordFile });
  if (identityToken !== '') choices.push({ from: 'token', identityToken });
  if (helper !== '') choices.push({ from: 'helper', helper });
  if (dockerConfig !== '') choices.push({ from: 'docker', dockerConfig });
  const [choice] = choices;
  const named = choice?.from === 'password' || choice?.from === 'file';
  if (choice === undefined || choices.length > 1 || named !== (username !== '')) return refuse(`${where}: ${CHOICE}`);
  return choice;
}

/**
 * Fetches them: files and helpers are asked each time, so that a change of them holds at once.
 * @throws failed_precondition for a file or helper that can't be used.
 */
export async function fetchHostCredentials(
  entry: HostCredentials,
  dir: string,
  host: string,
): Promise<Credentials | undefined> {
  switch (entry.from) {
    case 'password':
      return { kind: 'password', username: entry.username, password: entry.password };
    case 'token':
      return { kind: 'refresh', token: entry.identityToken };
    case 'helper':
      return askCredentialHelper(entry.helper, host);
    case 'docker':
      return dockerCredentials(resolve(dir, entry.dockerConfig), host);
    case 'file': {
      const path = resolve(dir, entry.passwordFile);
      const text = await readFile(path, 'utf8').catch((error: unknown) => {
        throw new BerthError('failed_precondition', `can't read the password file ${path}`, { cause: error });
      });
      return { kind: 'password', username: entry.username, password: text.replace(/\r?\n$/, '') };
    }
  }
}
