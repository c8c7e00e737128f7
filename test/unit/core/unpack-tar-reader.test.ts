import { describe, expect, it } from 'vitest';
import type { TarEntry } from '../../../apps/core/unpack/tar-header.ts';
import { TarReader } from '../../../apps/core/unpack/tar-reader.ts';
import { paxData, type TarMember, tarArchive } from '../../support/tar-archive.ts';

interface ReadMember extends TarEntry {
  readonly data: string;
}

function read(archive: Buffer, pieceSize = archive.length): ReadMember[] {
  const reader = new TarReader();
  const members: { entry: TarEntry; data: string }[] = [];
  for (let at = 0; at < archive.length; at += pieceSize) {
    for (const event of reader.push(archive.subarray(at, at + pieceSize))) {
      if (event.type === 'entry') members.push({ entry: event.entry, data: '' });
      else if (event.type === 'data') (members.at(-1) as { data: string }).data += event.data.toString();
    }
  }
  reader.close();
  return members.map(({ entry, data }) => ({ ...entry, data }));
}

function readOne(member: TarMember): ReadMember {
  const [only] = read(tarArchive([member]));
  return only as ReadMember;
}

describe('TarReader', () => {
  it('reads names, owners, modes, times and data of a ustar archive', () => {
    expect(readOne({ name: 'a/b', data: 'hello', mode: 0o4755, uid: 7, gid: 8, mtime: 1700000000 })).toMatchObject({
      kind: 'file',
      name: 'a/b',
      data: 'hello',
      size: 5,
      mode: 0o4755,
      uid: 7,
      gid: 8,
      mtime: 1_700_000_000_000_000_000n,
    });
  });

  it.each([1, 7, 511, 512, 513, 4096])('reads the same from pieces of %i bytes', (pieceSize) => {
    const archive = tarArchive([
      { name: 'empty' },
      { name: 'short', data: 'x'.repeat(700), pax: { path: 'p'.repeat(300), mtime: '1.5' } },
      { name: 'block', data: 'y'.repeat(512) },
      { name: 'dir/', type: '5' },
    ]);
    expect(read(archive, pieceSize)).toEqual(read(archive));
    expect(read(archive, pieceSize)).toHaveLength(4);
  });

  it('knows every kind of member', () => {
    const kinds = [...'01234567', '\0'].map((type) => readOne({ name: 'n', type, linkName: 'l' }).kind);
    const expected = ['file', 'hardlink', 'symlink', 'char', 'block', 'directory', 'fifo', 'file', 'file'];
    expect(kinds).toEqual(expected);
  });

  it('takes a v7 file whose name ends in a slash for a directory', () => {
    expect(readOne({ name: 'old/', magic: '', type: '\0' }).kind).toBe('directory');
  });

  it('puts the ustar prefix before the name, but not in GNU archives', () => {
    expect(readOne({ name: 'file', prefix: 'some/dir' }).name).toBe('some/dir/file');
    expect(readOne({ name: 'file', prefix: 'junk', magic: 'ustar  \0' }).name).toBe('file');
  });

  it('reads numbers in base 256, negative ones too', () => {
    const member = readOne({ name: 'n', uid: 0o12345670, gid: 3_000_000_000, mtime: -1 });
    expect(member).toMatchObject({ uid: 0o12345670, gid: 3_000_000_000, mtime: -1_000_000_000n });
  });

  it('applies GNU long names and links to the next member only', () => {
    const long = 'd/'.repeat(100);
    const members = read(
      tarArchive([
        { name: '././@LongLink', type: 'L', data: `${long}name\0` },
        { name: '././@LongLink', type: 'K', data: `${long}target\0` },
        { name: 'cut', type: '2', linkName: 'cut' },
        { name: 'next' },
      ]),
    );
    expect(members.map(({ name, linkName }) => [name, linkName])).toEqual([
      [`${long}name`, `${long}target`],
      ['next', ''],
    ]);
  });

  it('applies pax records: names, owner, size, times with fractions', () => {
    const member = readOne({
      name: 'short',
      type: '0',
      size: 0,
      pax: { path: 'naïve/ñ', uid: '3000000000', mtime: '1700000000.123456789', atime: '5.25', size: '0' },
    });
    expect(Buffer.from(member.name, 'latin1').toString()).toBe('naïve/ñ');
    expect(member).toMatchObject({ uid: 3_000_000_000, mtime: 1_700_000_000_123_456_789n, atime: 5_250_000_000n });
  });

  it('reads negative pax times', () => {
    expect(readOne({ name: 'n', pax: { mtime: '-1.5' } }).mtime).toBe(-1_500_000_000n);
  });

  it('reads extended attributes as GNU tar, star and bsdtar write them', () => {
    const capability = Buffer.from([1, 0, 0, 2, 0xff, 0x0a, 0x3d]);
    const { xattrs } = readOne({
      name: 'n',
      pax: {
        'LIBARCHIVE.xattr.user.both': Buffer.from('bsd').toString('base64'),
        'LIBARCHIVE.xattr.user.b%20sd': Buffer.from('value').toString('base64'),
        'SCHILY.xattr.user.both': 'star',
        'SCHILY.xattr.security.capability': capability,
      },
    });
    expect(xattrs.get('security.capability')).toEqual(capability);
    expect(xattrs.get('user.both')?.toString()).toBe('star');
    expect(xattrs.get('user.b sd')?.toString()).toBe('value');
  });

  it('lets global pax records stand for all members until a local one differs', () => {
    const members = read(
      tarArchive([
        { name: 'g', type: 'g', data: paxData({ uid: '9', comment: 'c' }) },
        { name: 'a' },
        { name: 'b', pax: { uid: '4' } },
        { name: 'c' },
      ]),
    );
    expect(members.map(({ uid }) => uid)).toEqual([9, 4, 9]);
  });

  it('keeps names that are no UTF-8', () => {
    expect(readOne({ name: 'caf\xe9' }).name).toBe('caf\xe9');
  });

  it('gives special files no data, whatever size they claim', () => {
    const members = read(tarArchive([{ name: 'd', type: '5', size: 4096 }, { name: 'next' }]));
    expect(members.map(({ name }) => name)).toEqual(['d', 'next']);
  });

  it('accepts an archive that ends without zero blocks, and an empty one', () => {
    expect(read(tarArchive([{ name: 'a', data: 'x' }], { open: true }))).toHaveLength(1);
    expect(read(Buffer.alloc(0))).toEqual([]);
  });

  it('ignores what follows the end of the archive', () => {
    expect(read(Buffer.concat([tarArchive([{ name: 'a' }]), Buffer.from('trailing rubbish')]))).toHaveLength(1);
  });

  const valid = tarArchive([{ name: 'a', data: 'x'.repeat(600) }]);
  const flipped = Buffer.from(valid);
  flipped[0] = 0x62;
  const hostile: readonly (readonly [string, Buffer, RegExp])[] = [
    ['a wrong checksum', flipped, /checksum/],
    ['truncated data', valid.subarray(0, 900), /truncated/],
    ['a truncated header', valid.subarray(0, 300), /truncated/],
    ['an extension without its member', tarArchive([{ name: 'L', type: 'L', data: 'n' }], { open: true }), /truncated/],
    ['a size beyond any file system', tarArchive([{ name: 'n', size: 2 ** 60 }]), /size|range/],
    ['a negative size', tarArchive([{ name: 'n', size: -5 }]), /size/],
    ['a negative pax size', tarArchive([{ name: 'n', pax: { size: '-1' } }]), /size/],
    ['a pax size that is no number', tarArchive([{ name: 'n', pax: { size: '0x10' } }]), /not a number/],
    ['a huge extension header', tarArchive([{ name: 'n', type: 'x', size: 2 ** 30 }]), /extension header/],
    ['a pax record with a wrong length', tarArchive([{ name: 'n', type: 'x', data: '99 path=x\n' }]), /wrong length/],
    ['a pax record without a length', tarArchive([{ name: 'n', type: 'x', data: 'path=x\n' }]), /no length/],
    ['a pax record without "="', tarArchive([{ name: 'n', type: 'x', data: '8 pathx\n' }]), /no "="|wrong length/],
    ['a GNU sparse file', tarArchive([{ name: 'n', type: 'S' }]), /sparse/],
    ['a pax sparse file', tarArchive([{ name: 'n', pax: { 'GNU.sparse.major': '1' } }]), /sparse/],
    ['an unknown type', tarArchive([{ name: 'n', type: 'Z' }]), /unknown type/],
    ['an owner out of range', tarArchive([{ name: 'n', pax: { uid: '4294967295' } }]), /owner/],
    ['members after the end mark', Buffer.concat([Buffer.alloc(512), valid]), /end mark/],
  ];
  it.each(hostile)('refuses %s', (_what, archive, message) => {
    expect(() => read(archive)).toThrow(message);
  });
});
