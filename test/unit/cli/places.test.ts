import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { privatePlaces, systemPlaces } from '../../../apps/cli/up/places.ts';
import { up } from '../../../apps/cli/up/up.ts';
import { readConfig as readCoreConfig } from '../../../apps/core/config.ts';
import { readConfig as readCriConfig } from '../../../apps/cri-shim/config.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-places-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** Every path in a configuration, at any depth. */
function pathsIn(value: unknown): string[] {
  if (typeof value === 'string') return value.startsWith('/') ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(pathsIn);
}

test('a private directory holds all that the daemons write, and their files are ones they accept', async () => {
  const places = await privatePlaces(directory, { cniConfDir: '/somewhere/net.d', cniBinDir: '/somewhere/bin' });
  const core = await readCoreConfig(places.core.args);
  const cri = await readCriConfig(places.cri.args);
  expect(core).toMatchObject({
    address: join(directory, 'berthd.sock'),
    registry: { certsDir: join(directory, 'certs.d') },
  });
  expect(cri).toMatchObject({
    address: join(directory, 'cri.sock'),
    core: { address: join(directory, 'berthd.sock') },
    cni: { confDir: '/somewhere/net.d', binDirs: ['/somewhere/bin'] },
  });
  const repository = join(import.meta.dirname, '../../..');
  const elsewhere = pathsIn([core, cri]).filter((path) => !path.startsWith(`${directory}/`));
  expect(elsewhere.filter((path) => !path.startsWith('/somewhere/') && !path.startsWith(repository))).toEqual([]);
});

test('a relative directory means the same to the daemons as to the shell', async () => {
  const places = await privatePlaces(join(directory, 'x', '..', 'y'), {});
  expect(places.cri.socket).toBe(join(directory, 'y', 'cri.sock'));
  expect(await readFile(join(directory, 'y', 'cri.toml'), 'utf8')).toContain(join(directory, 'y', 'root', 'cri'));
});

test("the system's places are the daemons' own defaults", async () => {
  const { core, cri } = await systemPlaces();
  expect([core.args, cri.args, core.log, cri.log]).toEqual([[], [], undefined, undefined]);
});

test('flags that go into private configuration files need a private directory', async () => {
  await expect(up({ certsDir: '/x' }, AbortSignal.abort())).rejects.toMatchObject({
    code: 'invalid_argument',
    message: expect.stringContaining('--dir'),
  });
});
