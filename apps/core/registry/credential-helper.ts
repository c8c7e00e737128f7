import { BerthError } from '#common/errors.ts';
import type { Credentials } from './credentials.ts';

const TIMEOUT_MS = 30_000;
const MAX_ANSWER = 1024 * 1024;
/** What helpers say, with exit code 1, when they know nothing of a server. */
const NOT_FOUND = /credentials not found/i;

/**
 * Asks a program for credentials. Protocol of docker/docker-credential-helpers: `docker-credential-<name> get`, with the
 * server on standard input, answers `{"ServerURL", "Username", "Secret"}`; the user `<token>` says that the secret is an
 * identity token. Answers undefined when the helper has none.
 * @throws failed_precondition when the program is missing, fails, or answers something else.
 */
export async function askCredentialHelper(name: string, server: string): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  const fail = (why: string, cause?: unknown): never => {
    throw new BerthError('failed_precondition', `credential helper ${program}: ${why}`, { cause });
  };
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) fail('this is no name of a helper');
  // Few nodes have a helper: the others need not load this.
  const { execa } = await import('execa');
  const result = await execa(program, ['get'], {
    input: server,
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_ANSWER,
    reject: false,
    stripFinalNewline: true,
  });
  if (result.code === 'ENOENT') fail('there is no such program on the PATH of berthd');
  if (result.timedOut) fail(`no answer for ${server} after ${TIMEOUT_MS / 1000} s`);
  if (result.failed) {
    if (NOT_FOUND.test(`${result.stdout}\n${result.stderr}`)) return undefined;
    const detail = `${result.stderr || result.stdout}`.trim().split('\n')[0]?.slice(0, 200) ?? '';
    fail(`it failed for ${server}${detail === '' ? '' : `: ${detail}`}`);
  }
  const { username, secret } = parseAnswer(result.stdout, fail);
  if (secret === '') return undefined;
  return username === '<token>' ? { kind: 'refresh', token: secret } : { kind: 'password', username, password: secret };
}

function parseAnswer(text: string, fail: (why: string) => never): { username: string; secret: string } {
  try {
    const { Username: username = '', Secret: secret = '' } = JSON.parse(text) as {
      Username?: unknown;
      Secret?: unknown;
    };
    if (typeof username === 'string' && typeof secret === 'string') return { username, secret };
  } catch {
    // The answer may hold the secret: no part of it goes into the message.
  }
  return fail('its answer is not a JSON object with Username and Secret');
}
