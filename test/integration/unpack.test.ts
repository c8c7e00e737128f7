import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isCode } from '#common/errors.ts';
import * as native from '#common/native/index.ts';
import { LayerApplier } from '../../apps/core/diff/apply.ts';
import type { Mount } from '../../apps/core/snapshots/snapshotter.ts';
import { requireRoom } from '../../apps/core/unpack/room.ts';
import { gnuTar } from '../support/gnu-tar.ts';
import { openFiles } from '../support/open-files.ts';
import { isAlive } from '../support/shim-bed.ts';
import { type TarMember, tarArchive } from '../support/tar-archive.ts';
import { describeTree, makeTree } from '../support/trees.ts';
import { waitFor } from '../support/wait-for.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

let dir: string;
let applier: LayerApplier;

beforeEach(() => {
  dir = fs.mkdtempSync(join(tmpdir(), 'berth-unpack-'));
  applier = new LayerApplier();
});

afterEach(() => {
  applier[Symbol.dispose]();
  fs.rmSync(dir, { recursive: true, force: true });
});

function folder(name: string): string {
  const path = join(dir, name);
  fs.mkdirSync(path, { recursive: true });
  return path;
}

function blob(data: Buffer): string {
  const path = join(dir, `blob-${createHash('sha256').update(data).digest('hex').slice(0, 12)}`);
  fs.writeFileSync(path, data);
  return path;
}

function bind(source: string): Mount[] {
  return [{ type: 'bind', source, options: ['rbind', 'rw'] }];
}

function overlay(upper: string, lowers: readonly string[]): Mount[] {
  const options = [`workdir=${folder('work')}`, `upperdir=${upper}`, `lowerdir=${lowers.join(':')}`];
  return [{ type: 'overlay', source: 'overlay', options }];
}

function apply(archive: Buffer, mounts: readonly Mount[], signal?: AbortSignal) {
  return applier.apply({ blobPath: blob(archive), mediaType: LAYER, mounts, signal });
}

function applyMembers(members: readonly TarMember[], mounts: readonly Mount[]) {
  return apply(tarArchive(members), mounts);
}

/** The processes that apply layers for this one. */
function applyProcesses(): number[] {
  const list = fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  const pids = list.trim().split(' ').filter(Boolean).map(Number);
  return pids.filter((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('apply-child'));
}

/** RFC 8878, "Skippable Frames". */
function skippable(text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50, 0);
  head.writeUInt32LE(text.length, 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

/** 51 bytes: a header with the extra field "SG", an empty stored block, checksum and length 0 (eStargz, "Footer"). */
const STARGZ_FOOTER = Buffer.concat([
  Buffer.from('1f8b08040000000000ff1a00534716003030303030303030303030303030303053544152475a', 'hex'),
  Buffer.from('010000ffff0000000000000000', 'hex'),
]);

/** A thread's network namespace; nothing when the thread has ended meanwhile. */
function networkOf(task: string): string[] {
  try {
    return [fs.readlinkSync(`${task}/ns/net`)];
  } catch {
    return [];
  }
}

describe('LayerApplier', () => {
  describe.each([
    ['pax', ['--xattrs', '--xattrs-include=*']],
    ['gnu', []],
  ])('on an archive in GNU tar’s %s format', (format, options) => {
    it('makes the tree that GNU tar makes', async () => {
      const archive = gnuTar(makeTree(folder('tree')), `--format=${format}`, ...options);
      const expected = folder('expected');
      execFileSync('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', '-', '-C', expected], {
        input: archive,
      });
      const out = folder('out');
      const result = await apply(archive, bind(out));
      expect(result).toEqual({
        diffId: `sha256:${createHash('sha256').update(archive).digest('hex')}`,
        size: archive.length,
        hasRoot: true,
      });
      expect(describeTree(out)).toEqual(describeTree(expected));
      expect(describeTree(out).length).toBe(24);
    });
  });

  it.each([
    ['GNU', ['--format=gnu']],
    ['0.0', ['--format=pax', '--sparse-version=0.0']],
    ['0.1', ['--format=pax', '--sparse-version=0.1']],
    ['1.0', ['--format=pax', '--sparse-version=1.0']],
  ])('keeps the holes of sparse files in the format %s of GNU tar', async (_format, options) => {
    const tree = folder('tree');
    const size = 8 * 1024 * 1024;
    for (const [name, pieces] of [
      ['many', 60],
      ['few', 3],
      ['none', 0],
      ['n'.repeat(120), 5],
    ] as const) {
      const fd = fs.openSync(join(tree, name), 'w');
      for (let at = 0; at < pieces; at++) fs.writeSync(fd, `piece ${at}`.padEnd(5000, 'x'), (at + 1) * 131_072);
      fs.ftruncateSync(fd, size);
      fs.closeSync(fd);
    }
    const archive = gnuTar(tree, '--sparse', '--hole-detection=raw', ...options);
    expect(archive.length).toBeLessThan(size);
    const expected = folder('expected');
    execFileSync('tar', ['--numeric-owner', '-xpf', '-', '-C', expected], { input: archive });
    const out = folder('out');
    await apply(archive, bind(out));
    expect(describeTree(out)).toEqual(describeTree(expected));
    for (const name of fs.readdirSync(tree)) {
      expect(fs.statSync(join(out, name)).blocks, name).toBeLessThanOrEqual(fs.statSync(join(tree, name)).blocks);
    }
  });

  it.each([
    ['gzip', (tar: Buffer) => gzipSync(tar)],
    [
      'gzip in several members',
      (tar: Buffer) => Buffer.concat([gzipSync(tar.subarray(0, 999)), gzipSync(tar.subarray(999))]),
    ],
    ['zstd', (tar: Buffer) => zstdCompressSync(tar)],
    [
      'zstd:chunked, whose table of contents is in skippable frames',
      (tar: Buffer) => Buffer.concat([zstdCompressSync(tar), skippable('toc'.repeat(100)), skippable('footer')]),
    ],
    ['zstd behind a skippable frame', (tar: Buffer) => Buffer.concat([skippable('first'), zstdCompressSync(tar)])],
    [
      'eStargz, whose footer is an empty member of gzip with an extra field',
      (tar: Buffer) => Buffer.concat([gzipSync(tar.subarray(0, 999)), gzipSync(tar.subarray(999)), STARGZ_FOOTER]),
    ],
    [
      'zstd in several frames',
      (tar: Buffer) => Buffer.concat([zstdCompressSync(tar.subarray(0, 999)), zstdCompressSync(tar.subarray(999))]),
    ],
    ['no compression', (tar: Buffer) => tar],
  ])('reads %s and answers the digest of the uncompressed stream', async (_name, compress) => {
    const tar = tarArchive([{ name: 'f', data: 'data'.repeat(10_000) }, { name: 'g' }]);
    const out = folder('out');
    const { diffId, size } = await apply(compress(tar), bind(out));
    expect(diffId).toBe(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
    expect(size).toBe(tar.length);
    expect(fs.readFileSync(join(out, 'f'), 'utf8')).toBe('data'.repeat(10_000));
    expect(fs.readdirSync(out)).toEqual(['f', 'g']);
  });

  it('reads a layer without any byte as an empty one', async () => {
    const out = folder('out');
    expect((await apply(Buffer.alloc(0), bind(out))).size).toBe(0);
    expect(fs.readdirSync(out)).toEqual([]);
  });

  it('replaces what the same layer had before, and merges directories', async () => {
    const out = folder('out');
    await applyMembers(
      [
        { name: 'd', type: '5', mode: 0o700 },
        { name: 'd/kept' },
        { name: 'd', type: '5', mode: 0o711 },
        { name: 'f', data: 'one' },
        { name: 'f', data: 'two' },
        { name: 'link', type: '2', linkName: 'd' },
        { name: 'link', data: 'a file now' },
        { name: 'tree/deep/file' },
        { name: 'tree', data: 'a file now' },
        { name: './/abs/../f2' },
        { name: '/rooted' },
      ],
      bind(out),
    );
    expect(fs.readdirSync(out).sort()).toEqual(['d', 'f', 'f2', 'link', 'rooted', 'tree']);
    expect(fs.readdirSync(join(out, 'd'))).toEqual(['kept']);
    expect(fs.statSync(join(out, 'd')).mode & 0o777).toBe(0o711);
    expect(fs.readFileSync(join(out, 'f'), 'utf8')).toBe('two');
    expect(fs.lstatSync(join(out, 'link')).isFile()).toBe(true);
  });

  it('resolves the links of layers that were made on aufs, and leaves nothing of its bookkeeping', async () => {
    const out = folder('out');
    await applyMembers(
      [
        { name: '.wh..wh.aufs' },
        { name: '.wh..wh.orph/', type: '5' },
        { name: '.wh..wh.orph/left' },
        { name: '.wh..wh.plnk/', type: '5' },
        { name: '.wh..wh.plnk/103.22', data: 'linked' },
        { name: 'one', type: '1', linkName: '.wh..wh.plnk/103.22' },
        { name: 'two', type: '1', linkName: '/.wh..wh.plnk/103.22' },
      ],
      bind(out),
    );
    expect(fs.readdirSync(out).sort()).toEqual(['one', 'two']);
    expect(fs.readFileSync(join(out, 'one'), 'utf8')).toBe('linked');
    expect(fs.statSync(join(out, 'one')).ino).toBe(fs.statSync(join(out, 'two')).ino);
  });

  describe('on an overlay', () => {
    it('writes whiteouts and opaque directories as overlayfs reads them', async () => {
      const lower = folder('lower');
      for (const path of ['gone', 'dir/a', 'opaque/old', 'replaced/old']) {
        fs.mkdirSync(join(lower, path, '..'), { recursive: true });
        fs.writeFileSync(join(lower, path), 'lower');
      }
      const upper = folder('upper');
      const mounts = overlay(upper, [lower]);
      await applyMembers(
        [
          { name: '.wh.gone' },
          { name: 'dir/.wh.a' },
          { name: 'opaque/new' },
          { name: 'opaque/.wh..wh..opq' },
          { name: '.wh.replaced' },
          { name: 'replaced', type: '5' },
          { name: 'replaced/new' },
          { name: 'nowhere/deep/.wh.x' },
          { name: '.wh..wh.plnk', type: '5' },
        ],
        mounts,
      );
      const gone = fs.lstatSync(join(upper, 'gone'));
      expect([gone.isCharacterDevice(), gone.rdev]).toEqual([true, 0]);
      expect(native.lgetxattr(join(upper, 'opaque'), 'trusted.overlay.opaque')?.toString()).toBe('y');
      expect(fs.existsSync(join(upper, 'nowhere'))).toBe(false);

      const merged = folder('merged');
      const [mount] = mounts as [Mount];
      native.mount('overlay', merged, 'overlay', 0, mount.options.join(','));
      try {
        expect(fs.readdirSync(merged).sort()).toEqual(['dir', 'opaque', 'replaced']);
        expect(fs.readdirSync(join(merged, 'dir'))).toEqual([]);
        expect(fs.readdirSync(join(merged, 'opaque'))).toEqual(['new']);
        expect(fs.readdirSync(join(merged, 'replaced'))).toEqual(['new']);
      } finally {
        native.umount(merged, 0);
      }
    });

    it('gives a parent that the layer leaves out the attributes it has below', async () => {
      const top = folder('top');
      const bottom = folder('bottom');
      fs.mkdirSync(join(bottom, 'a/b'), { recursive: true });
      fs.chownSync(join(bottom, 'a/b'), 5, 6);
      fs.chmodSync(join(bottom, 'a/b'), 0o2750);
      native.lsetxattr(join(bottom, 'a/b'), 'user.kept', Buffer.from('v'), 0);
      native.lutimens(join(bottom, 'a/b'), 1_600_000_000, 0, 1_600_000_000, 42);
      fs.mkdirSync(join(top, 'a'), { mode: 0o711 });
      const upper = folder('upper');
      await applyMembers([{ name: 'a/b/new' }, { name: 'x/y' }], overlay(upper, [top, bottom]));
      const stat = fs.statSync(join(upper, 'a/b'), { bigint: true });
      expect([stat.uid, stat.gid, stat.mode & 0o7777n, stat.mtimeNs]).toEqual([
        5n,
        6n,
        0o2750n,
        1_600_000_000_000_000_042n,
      ]);
      expect(native.lgetxattr(join(upper, 'a/b'), 'user.kept')?.toString()).toBe('v');
      expect(fs.statSync(join(upper, 'a')).mode & 0o777).toBe(0o711);
      expect(fs.statSync(join(upper, 'x')).mode & 0o777).toBe(0o755);
    });

    it('follows a symlink of a lower layer instead of hiding it behind a directory', async () => {
      const lower = folder('lower');
      fs.mkdirSync(join(lower, 'usr/lib'), { recursive: true });
      fs.symlinkSync('usr/lib', join(lower, 'lib'));
      const upper = folder('upper');
      await applyMembers([{ name: 'lib/new' }, { name: 'lib/.wh.old' }], overlay(upper, [lower]));
      expect(fs.readdirSync(upper)).toEqual(['usr']);
      expect(fs.readdirSync(join(upper, 'usr/lib')).sort()).toEqual(['new', 'old']);
    });

    it('does not look below a directory that a nearer layer removed or made opaque', async () => {
      const near = folder('near');
      const far = folder('far');
      fs.mkdirSync(join(far, 'removed'), { mode: 0o700 });
      fs.mkdirSync(join(far, 'opaque/sub'), { recursive: true, mode: 0o700 });
      native.mknod(join(near, 'removed'), fs.constants.S_IFCHR, 0, 0);
      fs.mkdirSync(join(near, 'opaque'));
      native.lsetxattr(join(near, 'opaque'), 'trusted.overlay.opaque', Buffer.from('y'), 0);
      const upper = folder('upper');
      await applyMembers([{ name: 'removed/x' }, { name: 'opaque/sub/x' }], overlay(upper, [near, far]));
      expect(fs.statSync(join(upper, 'removed')).mode & 0o777).toBe(0o755);
      expect(fs.statSync(join(upper, 'opaque/sub')).mode & 0o777).toBe(0o755);
    });

    it('copies what a hard link to a lower layer stands for, with all that belongs to it', async () => {
      const near = folder('near');
      const far = folder('far');
      fs.mkdirSync(join(far, 'bin'), { mode: 0o750 });
      fs.writeFileSync(join(far, 'bin/tool'), 'tool'.repeat(50_000));
      fs.chownSync(join(far, 'bin/tool'), 5, 6);
      fs.chmodSync(join(far, 'bin/tool'), 0o4755);
      const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
      native.lsetxattr(join(far, 'bin/tool'), 'security.capability', capability, 0);
      native.lsetxattr(join(far, 'bin/tool'), 'trusted.overlay.origin', Buffer.from('x'), 0);
      native.lutimens(join(far, 'bin/tool'), 1_500_000_000, 0, 1_600_000_000, 42);
      fs.symlinkSync('tool', join(far, 'bin/symlink'));
      fs.lchownSync(join(far, 'bin/symlink'), 7, 8);
      fs.symlinkSync('bin', join(far, 'sbin'));
      native.mkfifo(join(far, 'fifo'), 0o620);
      native.mknod(join(far, 'sda'), fs.constants.S_IFBLK | 0o660, 8, 300);
      fs.writeFileSync(join(far, 'caf'), 'latin');
      fs.renameSync(join(far, 'caf'), Buffer.from(`${far}/caf\xe9`, 'latin1'));
      fs.writeFileSync(join(near, 'file'), 'near');
      fs.writeFileSync(join(far, 'file'), 'far');
      const links = [
        ['new/one', 'bin/tool'],
        ['new/two', 'sbin/tool'],
        ['new/three', 'new/one'],
        ['symlink', 'bin/symlink'],
        ['fifo2', 'fifo'],
        ['sdb', 'sda'],
        ['caf', 'caf\xe9'],
        ['near', 'file'],
      ] as const;
      const upper = folder('upper');
      const mounts = overlay(upper, [near, far]);
      await applyMembers(
        links.map(([name, linkName]) => ({ name, type: '1', linkName })),
        mounts,
      );
      const inodes = ['bin/tool', 'new/one', 'new/two', 'new/three'].map((name) => fs.lstatSync(join(upper, name)).ino);
      expect(new Set(inodes).size).toBe(1);
      const pairs = [
        ['symlink', 'bin/symlink'],
        ['fifo2', 'fifo'],
        ['sdb', 'sda'],
      ] as const;
      for (const pair of pairs) {
        const [link, target] = pair.map((name) => fs.lstatSync(join(upper, name)).ino);
        expect(link, pair[0]).toBe(target);
      }
      expect(fs.readFileSync(join(upper, 'near'), 'utf8')).toBe('near');
      expect(fs.readFileSync(join(upper, 'caf'), 'utf8')).toBe('latin');
      expect(fs.readdirSync(upper)).not.toContain('.wh..berth-copy');
      const copied = describeTree(upper).filter((line) => /^(bin|fifo |sda)/.test(line));
      const original = describeTree(far).filter((line) => /^(bin|fifo |sda)/.test(line));
      expect(copied).toEqual(
        original.map((line) => line.replace(/trusted\.overlay\.origin=78/, '').replace(/,(?= )/, '')),
      );
    });

    it('refuses a hard link to what the layers below, or this one, have removed', async () => {
      const near = folder('near');
      const far = folder('far');
      for (const name of ['gone', 'going', 'hidden']) fs.writeFileSync(join(far, name), '');
      fs.mkdirSync(join(far, 'dir'));
      native.mknod(join(near, 'gone'), fs.constants.S_IFCHR, 0, 0);
      for (const [at, members] of [
        [{ name: 'a', type: '1', linkName: 'gone' }],
        [{ name: '.wh.going' }, { name: 'a', type: '1', linkName: 'going' }],
        [{ name: '.wh..wh..opq' }, { name: 'a', type: '1', linkName: 'hidden' }],
        [{ name: 'a', type: '1', linkName: 'dir' }],
        [{ name: 'a', type: '1', linkName: 'never' }],
      ].entries()) {
        const upper = folder(`upper${at}`);
        await expect(applyMembers(members, overlay(upper, [near, far]))).rejects.toThrow(/no layer so far holds/);
        expect(fs.readdirSync(upper)).not.toContain('a');
      }
    });

    it('ignores notes to overlayfs that an archive brings itself', async () => {
      const upper = folder('upper');
      const pax = { 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.user.ok': '1' };
      await applyMembers([{ name: 'd', type: '5', pax }], overlay(upper, [folder('lower')]));
      expect(native.llistxattr(join(upper, 'd'))).toEqual(['user.ok']);
    });
  });

  it('removes what a plain directory held, when a whiteout says so', async () => {
    const out = folder('out');
    fs.mkdirSync(join(out, 'opaque/sub'), { recursive: true });
    fs.mkdirSync(join(out, 'tree/sub'), { recursive: true });
    fs.writeFileSync(join(out, 'file'), '');
    await applyMembers(
      [
        { name: '.wh.file' },
        { name: '.wh.tree' },
        { name: 'opaque/new' },
        { name: 'opaque/.wh..wh..opq' },
        { name: 'own' },
        { name: '.wh.own' },
      ],
      bind(out),
    );
    expect(fs.readdirSync(out).sort()).toEqual(['opaque', 'own']);
    expect(fs.readdirSync(join(out, 'opaque'))).toEqual(['new']);
  });

  describe('given a hostile layer', () => {
    it('keeps files that go through absolute and climbing symlinks inside the root', async () => {
      const out = folder('out');
      const outside = folder('outside');
      await applyMembers(
        [
          { name: 'abs', type: '2', linkName: outside },
          { name: 'up', type: '2', linkName: '../../../../../../..' },
          { name: `abs/through` },
          { name: `up${outside}/climbed` },
          { name: 'file-link', type: '2', linkName: join(outside, 'victim') },
          { name: 'file-link', data: 'overwritten' },
        ],
        bind(out),
      );
      expect(fs.readdirSync(outside)).toEqual([]);
      expect(fs.readdirSync(join(out, outside)).sort()).toEqual(['climbed', 'through']);
      expect(fs.lstatSync(join(out, 'file-link')).isFile()).toBe(true);
    });

    it('never changes the mode or owner of what a symlink points to', async () => {
      const out = folder('out');
      const victim = join(folder('outside'), 'victim');
      fs.writeFileSync(victim, '', { mode: 0o600 });
      await applyMembers([{ name: 'l', type: '2', linkName: victim, mode: 0o777, uid: 1234 }], bind(out));
      expect(fs.lstatSync(join(out, 'l')).uid).toBe(1234);
      const { mode, uid } = fs.statSync(victim);
      expect([mode & 0o777, uid]).toEqual([0o600, 0]);
    });

    const refused: readonly (readonly [string, readonly TarMember[], RegExp])[] = [
      [
        'a name that climbs out',
        [{ name: '../../etc/cron.d/x' }],
        /"\.\.\/\.\.\/etc\/cron\.d\/x".*out of the layer's root/,
      ],
      ['a hard link that climbs out', [{ name: 'h', type: '1', linkName: '../victim' }], /out of the layer's root/],
      ['a hard link to a file of the host', [{ name: 'h', type: '1', linkName: '/etc/hostname' }], /"\/etc\/hostname"/],
      [
        'a symlink loop',
        [{ name: 'a', type: '2', linkName: 'b' }, { name: 'b', type: '2', linkName: 'a' }, { name: 'a/x' }],
        /symbolic links/,
      ],
      ['a file used as a directory', [{ name: 'f' }, { name: 'f/x' }], /"f\/x".*it is a file/],
      ['a whiteout of a parent', [{ name: 'd/.wh...' }], /no whiteout/],
      ['a size beyond any file system', [{ name: 'f', size: 2 ** 50 }], /size/],
      ['a name longer than the file system takes', [{ name: 'n', pax: { path: 'n'.repeat(300) } }], /ENAMETOOLONG/],
    ];
    it.each(refused)('refuses %s', async (_what, members, message) => {
      await expect(applyMembers(members, bind(folder('out')))).rejects.toThrow(message);
    });

    describe('on a small file system', () => {
      let small: string;

      beforeEach(() => {
        small = folder('small');
        native.mount('tmpfs', small, 'tmpfs', 0, 'size=64m,nr_inodes=200');
      });

      afterEach(() => native.umount(small, 0));

      it('refuses one that swells beyond what there is, before all is taken', async () => {
        const bomb = zstdCompressSync(tarArchive([{ name: 'zeros', data: Buffer.alloc(80 * 1024 * 1024) }]));
        expect(bomb.length).toBeLessThan(64 * 1024);
        const message = expect.stringMatching(/KiB free/);
        await expect(apply(bomb, bind(small))).rejects.toMatchObject({ code: 'resource_exhausted', message });
        expect(fs.statfsSync(small).bavail).toBeGreaterThan(0);
      });

      it('counts inodes too', () => {
        for (let at = 0; at < 195; at++) fs.writeFileSync(join(small, String(at)), '');
        requireRoom(small);
        for (let at = 195; at < 198; at++) fs.writeFileSync(join(small, String(at)), '');
        expect(() => requireRoom(small)).toThrow(/inodes free/);
      });
    });

    it.each<[string, TarMember]>([
      ['a name that is too long', { name: 'n', pax: { path: `d/${'x'.repeat(256)}` } }],
      ['an attribute whose name is too long', { name: 'f', pax: { [`SCHILY.xattr.user.${'x'.repeat(260)}`]: '1' } }],
      ['an attribute with NUL in its name', { name: 'f', pax: { 'LIBARCHIVE.xattr.user.%00': 'AA==' } }],
      ['a symlink to nothing', { name: 'l', type: '2' }],
      ['a directory with the name of a whiteout', { name: '.wh.a/b' }],
      ['a whiteout for a directory', { name: '.wh./b', type: '5' }],
    ])('calls %s an archive’s fault', async (_what, member) => {
      await expect(applyMembers([member], bind(folder('out')))).rejects.toMatchObject({ code: 'invalid_argument' });
      expect(fs.readdirSync(join(dir, 'out')).filter((name) => name.startsWith('.wh.'))).toEqual([]);
    });

    it('leaves out what aufs noted for itself', async () => {
      const out = folder('out');
      await applyMembers(
        [{ name: '.wh..wh.plnk/', type: '5' }, { name: '.wh..wh.plnk/1.2' }, { name: 'f' }],
        bind(out),
      );
      expect(fs.readdirSync(out)).toEqual(['f']);
    });

    it('refuses a truncated archive and damaged compression', async () => {
      const tar = tarArchive([{ name: 'f', data: 'x'.repeat(5000) }]);
      await expect(apply(tar.subarray(0, 3000), bind(folder('a')))).rejects.toMatchObject({ code: 'invalid_argument' });
      const gz = gzipSync(tar);
      await expect(apply(gz.subarray(0, gz.length - 9), bind(folder('b')))).rejects.toMatchObject({
        code: 'data_loss',
      });
    });
  });

  it('refuses mounts it can’t write to', async () => {
    const tar = tarArchive([]);
    const readOnly: Mount[] = [{ type: 'bind', source: folder('out'), options: ['rbind', 'ro'] }];
    await expect(apply(tar, readOnly)).rejects.toMatchObject({ code: 'failed_precondition' });
    const view: Mount[] = [{ type: 'overlay', source: 'overlay', options: ['lowerdir=/a:/b'] }];
    await expect(apply(tar, view)).rejects.toMatchObject({ code: 'failed_precondition' });
    const erofs: Mount[] = [{ type: 'erofs', source: '/x', options: [] }];
    await expect(apply(tar, erofs)).rejects.toMatchObject({ code: 'unimplemented' });
  });

  describe('while a layer is read from a FIFO that never ends', () => {
    function begin(signal?: AbortSignal) {
      const fifo = join(dir, 'fifo');
      native.mkfifo(fifo, 0o600);
      const feed = fs.openSync(fifo, fs.constants.O_RDWR);
      const result = applier.apply({ blobPath: fifo, mediaType: LAYER, mounts: bind(folder('out')), signal });
      return { result, feed };
    }

    it('ends the child and says canceled when it is aborted', async () => {
      const controller = new AbortController();
      const { result, feed } = begin(controller.signal);
      await waitFor('the process', () => applyProcesses().length === 1);
      controller.abort();
      const error = await result.catch((failure: unknown) => failure);
      expect(isCode(error, 'canceled')).toBe(true);
      expect(applyProcesses()).toEqual([]);
      fs.closeSync(feed);
    });

    it('ends the child at its deadline', async () => {
      using hasty = new LayerApplier(undefined, 500);
      const fifo = join(dir, 'fifo');
      native.mkfifo(fifo, 0o600);
      const feed = fs.openSync(fifo, fs.constants.O_RDWR);
      const result = hasty.apply({ blobPath: fifo, mediaType: LAYER, mounts: bind(folder('out')) });
      await expect(result).rejects.toMatchObject({
        code: 'deadline_exceeded',
        message: expect.stringMatching(/longer than 0\.5 s/),
      });
      expect(applyProcesses()).toEqual([]);
      fs.closeSync(feed);
    });

    it('gives the child no network and bounded memory', async () => {
      const { result, feed } = begin();
      const pid = await waitFor('the process', () =>
        applyProcesses().find((candidate) => fs.readlinkSync(`/proc/${candidate}/root`) === join(dir, 'out')),
      );
      const namespaces = fs.readdirSync(`/proc/${pid}/task`).flatMap((tid) => networkOf(`/proc/${pid}/task/${tid}`));
      expect(new Set(namespaces).size).toBe(1);
      expect(namespaces[0]).not.toBe(fs.readlinkSync('/proc/self/ns/net'));
      expect(fs.readFileSync(`/proc/${pid}/net/dev`, 'utf8').match(/^ *\w+:/gm)).toEqual(['    lo:']);
      const limits = fs.readFileSync(`/proc/${pid}/limits`, 'utf8');
      expect(limits).toMatch(/^Max data size +1610612736 +1610612736/m);
      expect(limits).toMatch(/^Max core file size +0 +0/m);
      process.kill(pid, 'SIGKILL');
      await expect(result).rejects.toThrow(/killed/);
      fs.closeSync(feed);
    });

    it('says so when the child is killed', async () => {
      const { result, feed } = begin();
      const pid = await waitFor('the process', () => applyProcesses()[0]);
      process.kill(pid, 'SIGKILL');
      await expect(result).rejects.toThrow(/killed by SIGKILL/);
      fs.closeSync(feed);
    });
  });

  it('uses a process that was started ahead, and replaces one that died meanwhile', async () => {
    applier.warm();
    await applyMembers([{ name: 'a' }], bind(folder('one')));
    applier.warm();
    const pids = applyProcesses();
    expect(pids).not.toEqual([]);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await waitFor('it to end', () => !pids.some(isAlive));
    await applyMembers([{ name: 'a' }], bind(folder('two')));
    expect(fs.readdirSync(join(dir, 'two'))).toEqual(['a']);
  });

  it('uses a process again, which keeps nothing of the layer that it has written', async () => {
    using reusing = new LayerApplier();
    const known = applyProcesses();
    const pids = new Set<number>();
    for (const name of ['one', 'two', 'three']) {
      const out = folder(name);
      await reusing.apply({ blobPath: blob(tarArchive([{ name }])), mediaType: LAYER, mounts: bind(out) });
      expect(fs.readdirSync(out)).toEqual([name]);
      const [pid = 0] = applyProcesses().filter((each) => !known.includes(each));
      pids.add(pid);
      expect(fs.readlinkSync(`/proc/${pid}/root`)).toBe('/');
      await waitFor('the blob to be closed', () => openFiles(pid, dir) === 0);
    }
    expect(pids.size).toBe(1);
  });

  it('keeps compiled code in its own directory, and none of it in a layer that has the same path', async () => {
    const cacheDir = join(dir, 'cache');
    using caching = new LayerApplier(cacheDir);
    const parts = cacheDir.slice(1).split('/');
    const members = parts.map((_, index) => ({ name: parts.slice(0, index + 1).join('/'), type: '5', mode: 0o755 }));
    for (const name of ['first', 'second']) {
      const out = folder(name);
      await caching.apply({ blobPath: blob(tarArchive(members)), mediaType: LAYER, mounts: bind(out) });
      expect(fs.readdirSync(join(out, cacheDir))).toEqual([]);
    }
    expect(fs.readdirSync(cacheDir)).not.toEqual([]);
  });
});
