import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../../apps/core/config.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let file: string;
beforeEach(() => {
  dir = scratchDir();
  file = join(dir, 'berthd.toml');
});
afterEach(() => removeScratch(dir));

describe("berthd's configuration", () => {
  it('has defaults for everything, the socket below the state directory', async () => {
    writeFileSync(file, '');
    expect(await readConfig(['--config', file])).toMatchObject({
      root: '/var/lib/berth',
      state: '/run/berth',
      address: '/run/berth/berthd.sock',
      logLevel: 'info',
      defaultRuntime: 'io.containerd.runc.v2',
      registry: { certsDir: '/etc/berth/certs.d' },
      restartIntervalMs: 10_000,
    });
    expect(await readConfig(['--config', file, '--state', '/x'])).toMatchObject({ address: '/x/berthd.sock' });
  });

  it('takes a flag over the file', async () => {
    writeFileSync(
      file,
      'root = "/a"\n[log]\nlevel = "debug"\n[grpc]\naddress = "/s"\n[registry]\nconfig_path = "/r"\n',
    );
    const flags = ['--config', file, '--root', '/b', '--log-level', 'warn'];
    const expected = { root: '/b', logLevel: 'warn', address: '/s', registry: { certsDir: '/r' } };
    expect(await readConfig(flags)).toMatchObject(expected);
  });

  it.each([
    ['rot = "/a"', /berthd.toml:1: unknown key "rot".*did you mean "root"/],
    ['\n[shim]\nruntime = "x"', /berthd.toml:3: unknown key "shim.runtime"/],
    ['[log]\nlevel = "loud"', /berthd.toml:2: log.level must be one of/],
    ['[restart]\ninterval = "0s"', /restart.interval must be 100ms or more/],
    ['[registry]\nmax_bandwidth = 10', /max_bandwidth is in bytes per second/],
    ['[registry]\nstall_timeout = "1ms"', /stall_timeout must be 1s or more/],
    [
      '[registry.mirrors."docker.io"]',
      /berthd.toml:1: registry.mirrors: mirrors are not configured here: .*hosts.toml/,
    ],
    ['[registry.configs."a".auth]', /registry.configs: TLS and credentials are not configured here/],
    ['root = "relative"', /root: "relative" must be an absolute path/],
  ])('refuses the file %j, saying where and what', async (text, message) => {
    writeFileSync(file, text);
    await expect(readConfig(['--config', file])).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(readConfig(['--config', file])).rejects.toThrow(message);
  });

  it.each([
    [['--nonsense'], /nonsense.*usage: berthd/s],
    [['stray'], /usage: berthd/],
    [['--log-level', 'loud'], /--log-level loud: want one of/],
    [['--root', '/x', '--state', '/x'], /must be two directories/],
    [['--address', 'b.sock'], /address: "b.sock" must be an absolute path/],
  ])('refuses the flags %j', async (flags, message) => {
    writeFileSync(file, '');
    await expect(readConfig(['--config', file, ...flags])).rejects.toThrow(message);
  });

  it('must be there when it is named', async () => {
    await expect(readConfig(['--config', file])).rejects.toMatchObject({ code: 'not_found' });
  });
});
