import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultPaths } from '#common/paths.ts';
import { readConfig as readCoreConfig } from '../../../apps/core/config.ts';
import { readConfig as readCriConfig } from '../../../apps/cri-shim/config.ts';

const repository = join(import.meta.dirname, '../../..');
const deployed = (path: string) => readFileSync(join(repository, 'deploy', path), 'utf8');

describe('the documented configuration', () => {
  let directory: string;
  let empty: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-deploy-'));
    empty = join(directory, 'empty.toml');
    await writeFile(empty, '');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  test.each([
    ['berthd.toml', readCoreConfig],
    ['cri.toml', readCriConfig],
  ] as const)('%s says what holds without it', async (file, readConfig) => {
    const documented = await readConfig(['--config', join(repository, 'deploy/config', file)]);
    expect(documented).toEqual(await readConfig(['--config', empty]));
  });
});

describe('the systemd units', () => {
  const units = ['systemd/berthd.service', 'systemd/berth-cri.service'];

  test.each(units)('%s starts a program that is there, before the kubelet, and leaves containers alone', (path) => {
    const unit = deployed(path);
    const [, main = ''] = /^ExecStart=\/opt\/berth\/node_modules\/\.bin\/node \/opt\/berth\/(\S+)$/m.exec(unit) ?? [];
    expect(globSync(main, { cwd: repository })).toEqual([main]);
    for (const line of ['Type=notify', 'KillMode=process', 'Delegate=yes', 'Before=kubelet.service']) {
      expect(unit.split('\n')).toContain(line);
    }
  });
});

test('the kubeadm example names the socket that berth-cri listens on by default', () => {
  const sockets = deployed('kubeadm/kubeadm.yaml').match(/unix:\/\/\S+/g);
  expect(sockets).toEqual([`unix://${defaultPaths.criSocket}`, `unix://${defaultPaths.criSocket}`]);
});
