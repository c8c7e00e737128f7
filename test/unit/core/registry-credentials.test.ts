import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Credentials } from '../../../apps/core/registry/credentials.ts';
import { dockerCredentials } from '../../../apps/core/registry/docker-config.ts';
import { registryHosts } from '../../../apps/core/registry/host-config.ts';

let dir: string;
let path: string | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-credentials-'));
  mkdirSync(join(dir, 'bin'));
  path = process.env.PATH;
  process.env.PATH = `${join(dir, 'bin')}:${path}`;
});

afterEach(() => {
  process.env.PATH = path;
  rmSync(dir, { recursive: true, force: true });
});

/** A credential helper: a shell script that finds the server in `$server`. */
function helper(name: string, script: string): void {
  const file = join(dir, 'bin', `docker-credential-${name}`);
  writeFileSync(file, `#!/bin/sh\nread -r server\n[ "$1" = get ] || exit 3\n${script}\n`);
  chmodSync(file, 0o755);
}

const answer = (username: string, secret: string): string =>
  `printf '{"ServerURL":"%s","Username":"${username}","Secret":"${secret} for %s"}' "$server" "$server"`;

describe('a config.json of Docker', () => {
  const read = async (config: unknown, host: string): Promise<Credentials | undefined> => {
    const file = join(dir, 'config.json');
    writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
    return dockerCredentials(file, host);
  };
  const auth = Buffer.from('me:a:b').toString('base64');
  const login = { kind: 'password', username: 'me', password: 'a:b' };

  it.each([
    ['r.example:5000', { 'r.example:5000': { auth } }, login],
    ['r.example', { 'https://r.example/v1/': { username: 'me', password: 'a:b' } }, login],
    ['registry-1.docker.io', { 'https://index.docker.io/v1/': { auth } }, login],
    ['r.example', { 'r.example': { auth, identitytoken: 't' } }, { kind: 'refresh', token: 't' }],
    ['r.example', { 'r.example': { registrytoken: 't' } }, { kind: 'header', value: 'Bearer t' }],
    ['r.example', { 'r.example:5000': { auth }, 'r.example.evil': { auth } }, undefined],
    ['r.example', { 'r.example': {} }, undefined],
  ])('has for %s of %j', async (host, auths, expected) => {
    expect(await read({ auths }, host)).toEqual(expected);
  });

  it('has the helpers of single registries before the common one, and that one before its own text', async () => {
    helper('one', answer('one', 's'));
    helper('all', answer('<token>', 's'));
    const config = {
      auths: { 'r.example': { auth } },
      credHelpers: { 'own.example': 'one' },
      credsStore: 'all',
    };
    expect(await read(config, 'own.example')).toMatchObject({ username: 'one', password: 's for own.example' });
    expect(await read(config, 'r.example')).toEqual({ kind: 'refresh', token: 's for r.example' });
    expect(await read(config, 'docker.io')).toMatchObject({ token: 's for https://index.docker.io/v1/' });
    helper('all', 'echo "credentials not found in native keychain"; exit 1');
    expect(await read(config, 'r.example')).toEqual(login);
  });

  it('is none when it is not there, and is read anew each time', async () => {
    expect(await dockerCredentials(join(dir, 'none.json'), 'r.example')).toBeUndefined();
    expect(await read({ auths: { 'r.example': { auth } } }, 'r.example')).toEqual(login);
    expect(await read({ auths: {} }, 'r.example')).toBeUndefined();
  });

  it('is refused by name when it can’t be read, without a word of what it holds', async () => {
    for (const text of ['{"auths": {"r.example": {"auth": "c2VjcmV0', '["c2VjcmV0"]']) {
      const failed = read(text, 'r.example');
      await expect(failed).rejects.toMatchObject({ code: 'failed_precondition' });
      await expect(failed).rejects.toThrow(join(dir, 'config.json'));
      await expect(failed).rejects.not.toThrow(/c2VjcmV0/);
    }
    await expect(read({ auths: { 'r.example': { auth: 'c2VjcmV0' } } }, 'r.example')).rejects.toThrow(
      /auths\."r\.example": auth must be base64 of user:password/,
    );
  });

  it.each([
    ['none', undefined, /docker-credential-none: there is no such program on the PATH/],
    ['sad', 'echo "locked" >&2; exit 2', /docker-credential-sad: it failed for r.example: locked/],
    ['odd', 'echo "not JSON, but hush"', /docker-credential-odd: its answer is not a JSON object/],
    ['../evil', undefined, /this is no name of a helper/],
  ])('says what is wrong with the helper %s', async (name, script, message) => {
    if (script !== undefined) helper(name, script);
    const failed = read({ credsStore: name }, 'r.example');
    await expect(failed).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.not.toThrow(/hush/);
  });
});

describe('the credentials of a hosts.toml', () => {
  const ask = async (text: string): Promise<(Credentials | undefined)[]> => {
    mkdirSync(join(dir, 'r.example'), { recursive: true });
    writeFileSync(join(dir, 'r.example/hosts.toml'), text);
    const hosts = await registryHosts('r.example', { hostDir: dir });
    return Promise.all(hosts.map((host) => host.credentials?.(host.base.host, [])));
  };

  it('belong to one host each, and come from the file, a file beside it, a helper or a config.json', async () => {
    helper('aws', answer('AWS', 's'));
    mkdirSync(join(dir, 'r.example'));
    writeFileSync(join(dir, 'r.example/password'), 'from file\n');
    writeFileSync(
      join(dir, 'r.example/config.json'),
      JSON.stringify({ auths: { 'e.example': { identitytoken: 'i' } } }),
    );
    const found = await ask(`
[host."https://a.example".credentials]
username = "me"
password = "plain"
[host."https://b.example".credentials]
username = "me"
password_file = "password"
[host."https://c.example".credentials]
identity_token = "token"
[host."https://d.example".credentials]
helper = "aws"
[host."https://e.example".credentials]
docker_config = "config.json"
`);
    expect(found).toEqual([
      { kind: 'password', username: 'me', password: 'plain' },
      { kind: 'password', username: 'me', password: 'from file' },
      { kind: 'refresh', token: 'token' },
      { kind: 'password', username: 'AWS', password: 's for d.example' },
      { kind: 'refresh', token: 'i' },
      undefined,
    ]);
  });

  it.each([
    ['username = "me"', /server\.credentials: give one of: username with password/],
    ['password = "p"', /give one of/],
    ['identity_token = "t"\nhelper = "h"', /give one of/],
    ['user = "me"', /unknown key "server\.credentials\.user"; known: username/],
    ['username = 1', /server\.credentials\.username must be a string/],
  ])('are refused as %j', async (text, message) => {
    await expect(ask(`[credentials]\n${text}`)).rejects.toThrow(message);
  });

  it('name the file that they lack', async () => {
    const lacking = ask('[credentials]\nusername = "me"\npassword_file = "gone"');
    await expect(lacking).rejects.toThrow(join(dir, 'r.example/gone'));
  });
});
