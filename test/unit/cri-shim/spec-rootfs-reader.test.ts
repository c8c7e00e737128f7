import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lsetxattr } from '#common/native/index.ts';
import { RootfsReader } from '../../../apps/cri-shim/spec/rootfs-reader.ts';

const limit = 1000;
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-'));
  writeFileSync(join(dir, 'outside'), 'secret of the host');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function put(layer: string, path: string, text: string): void {
  mkdirSync(dirname(join(dir, layer, path)), { recursive: true });
  writeFileSync(join(dir, layer, path), text);
}

function link(layer: string, path: string, target: string): void {
  mkdirSync(dirname(join(dir, layer, path)), { recursive: true });
  symlinkSync(target, join(dir, layer, path));
}

function reader(...layers: string[]): RootfsReader {
  for (const layer of ['upper', ...layers]) mkdirSync(join(dir, layer), { recursive: true });
  const lower = layers.map((layer) => join(dir, layer)).join(':');
  const options = [`workdir=${dir}/work`, `upperdir=${dir}/upper`, `lowerdir=${lower}`];
  return new RootfsReader([{ type: 'overlay', source: 'overlay', options }]);
}

describe('reading a file of a root file system that isn’t mounted', () => {
  it('finds it in whichever layer is on top', async () => {
    put('low', 'etc/passwd', 'old');
    put('low', 'etc/group', 'low only');
    put('top', 'etc/passwd', 'new');
    const root = reader('top', 'low');
    expect(await root.read('/etc/passwd', limit)).toBe('new');
    expect(await root.read('/etc/group', limit)).toBe('low only');
    expect(await root.read('/etc/shadow', limit)).toBeUndefined();
  });

  it('reads a snapshot of one layer, which is a bind mount', async () => {
    put('only', 'etc/passwd', 'bound');
    const root = new RootfsReader([{ type: 'bind', source: join(dir, 'only'), options: ['rbind', 'ro'] }]);
    expect(await root.read('/etc/passwd', limit)).toBe('bound');
  });

  it.runIf(process.getuid?.() === 0)('respects whiteouts', async () => {
    put('low', 'etc/passwd', 'deleted');
    mkdirSync(join(dir, 'top/etc'), { recursive: true });
    execFileSync('mknod', [join(dir, 'top/etc/passwd'), 'c', '0', '0']);
    expect(await reader('top', 'low').read('/etc/passwd', limit)).toBeUndefined();
  });

  it.runIf(process.getuid?.() === 0)('respects opaque directories', async () => {
    put('low', 'etc/passwd', 'hidden');
    put('top', 'etc/group', 'seen');
    lsetxattr(join(dir, 'top/etc'), 'trusted.overlay.opaque', Buffer.from('y'), 0);
    const root = reader('top', 'low');
    expect(await root.read('/etc/passwd', limit)).toBeUndefined();
    expect(await root.read('/etc/group', limit)).toBe('seen');
  });

  it('resolves links inside the root, absolute ones and those that climb', async () => {
    put('low', 'usr/etc/passwd', 'inside');
    link('top', 'etc', '/usr/etc');
    expect(await reader('top', 'low').read('/etc/passwd', limit)).toBe('inside');

    put('low', 'outside', 'inside too');
    link('climb', 'etc/passwd', '../../../../../../outside');
    expect(await reader('climb', 'low').read('/etc/passwd', limit)).toBe('inside too');
  });

  it('never follows a link to a file of the host', async () => {
    link('top', 'etc/passwd', join(dir, 'outside'));
    link('top', 'dir', dir);
    const root = reader('top');
    expect(await root.read('/etc/passwd', limit)).toBeUndefined();
    expect(await root.read('/dir/outside', limit)).toBeUndefined();
  });

  it('gives up on links that go round in circles', async () => {
    link('top', 'etc/passwd', 'passwd2');
    link('top', 'etc/passwd2', 'passwd');
    await expect(reader('top').read('/etc/passwd', limit)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('refuses what is too large, a FIFO, a directory', async () => {
    put('top', 'large', 'x'.repeat(limit + 1));
    put('top', 'etc/passwd/x', '');
    execFileSync('mkfifo', [join(dir, 'top/fifo')]);
    const root = reader('top');
    for (const path of ['/large', '/fifo', '/etc/passwd']) {
      await expect(root.read(path, limit)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
  });

  it('says so when a snapshotter answers mounts of another kind', () => {
    const make = () => new RootfsReader([{ type: 'ext4', source: '/dev/sda', options: [] }]);
    expect(make).toThrow(expect.objectContaining({ code: 'unimplemented' }));
  });
});
