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
      else if (event.type === 'hole') (members.at(-1) as { data: string }).data += '.'.repeat(event.length);
    }
  }
  reader.close();
  return members.map(({ entry, data }) => ({ ...entry, data }));
}

function readOne(member: TarMember): ReadMember {
  const [only] = read(tarArchive([member]));
  return only as ReadMember;
}

const sparse1 = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' };

/** An archive with a sparse file in one of pax's formats; `more` are records that come twice. */
function sparse(data: string, pax: Record<string, string>, more: readonly (readonly [string, string])[] = []): Buffer {
  const records = [paxData(pax), ...more.map(([key, value]) => paxData({ [key]: value }))];
  return tarArchive([
    { name: 'pax', type: 'x', data: Buffer.concat(records) },
    { name: 'n', data },
    { name: 'next', data: 'plain' },
  ]);
}

interface OldSparse {
  readonly size?: number;
  readonly stretches?: readonly (readonly [offset: number, length: number])[];
  readonly data?: string;
  /** Ends where a further block of the map is promised. */
  readonly extended?: boolean;
}

/** The same in GNU tar's old format. */
function gnuSparse({ size = 0, stretches = [], data = '', extended = false }: OldSparse): Buffer {
  const archive = tarArchive([{ name: 'n', type: 'S', magic: 'ustar  \0', size: data.length }], { open: true });
  const map = (block: Buffer, start: number, part: OldSparse['stretches'] = []) => {
    for (const [index, pair] of part.entries()) {
      for (const [at, value] of pair.entries()) {
        block.write(`${value.toString(8).padStart(11, '0')}\0`, start + 24 * index + 12 * at, 'latin1');
      }
    }
  };
  const blocks: Buffer[] = [];
  for (let at = 4; at < stretches.length; at += 21) {
    const block = Buffer.alloc(512);
    map(block, 0, stretches.slice(at, at + 21));
    block[504] = at + 21 < stretches.length ? 1 : 0;
    blocks.push(block);
  }
  map(archive, 386, stretches.slice(0, 4));
  archive[482] = extended || blocks.length > 0 ? 1 : 0;
  archive.write(`${size.toString(8).padStart(11, '0')}\0`, 483, 'latin1');
  archive.write('        ', 148);
  const sum = archive.reduce((total, byte) => total + byte, 0);
  archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  if (extended) return archive;
  const padding = Buffer.alloc((512 - (data.length % 512)) % 512);
  return Buffer.concat([archive, ...blocks, Buffer.from(data), padding, tarArchive([{ name: 'next', data: 'plain' }])]);
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

  it.each([1, 511, 512, 4096])(
    'puts holes where they were, in every format of GNU tar, from pieces of %i bytes',
    (piece) => {
      const map = '5,2,9,1';
      const old = { 'GNU.sparse.size': '12', 'GNU.sparse.numblocks': '2' };
      const blockMap = `2\n5\n2\n9\n1\n`.padEnd(512, '\0');
      const archives = {
        '0.0': sparse('abc', { ...old, 'GNU.sparse.offset': '5', 'GNU.sparse.numbytes': '2' }, [
          ['GNU.sparse.offset', '9'],
          ['GNU.sparse.numbytes', '1'],
        ]),
        '0.1': sparse('abc', { ...old, 'GNU.sparse.map': map, 'GNU.sparse.name': 'real' }),
        '1.0': sparse(`${blockMap}abc`, { ...sparse1, 'GNU.sparse.name': 'real', 'GNU.sparse.realsize': '12' }),
        old: gnuSparse({
          size: 12,
          stretches: [
            [5, 2],
            [9, 1],
          ],
          data: 'abc',
        }),
      };
      for (const [format, archive] of Object.entries(archives)) {
        const [file, next] = read(archive, piece);
        expect(file, format).toMatchObject({ kind: 'file', size: 12, data: '.....ab..c..' });
        expect(file?.name, format).toBe(format === '0.1' || format === '1.0' ? 'real' : 'n');
        expect(next, format).toMatchObject({ name: 'next', data: 'plain' });
      }
    },
  );

  it('reads an old sparse map that goes on in further blocks', () => {
    const stretches = Array.from({ length: 60 }, (_, index) => [2 * index, 1] as const);
    const [file, next] = read(gnuSparse({ size: 121, stretches, data: 'x'.repeat(60) }));
    expect(file?.data).toBe(`${'x.'.repeat(60)}.`);
    expect(next?.data).toBe('plain');
  });

  it('skips the label of a volume and reads the extended headers of Solaris', () => {
    const members = read(
      tarArchive([
        { name: 'label', type: 'V' },
        { name: 'X', type: 'X', data: paxData({ path: 'solaris' }) },
        { name: 'n' },
      ]),
    );
    expect(members.map(({ name }) => name)).toEqual(['solaris']);
  });

  it('skips the data of a directory that is written as a file', () => {
    const members = read(tarArchive([{ name: 'd/', data: 'x'.repeat(600) }, { name: 'next' }]));
    expect(members.map(({ kind, name }) => `${kind} ${name}`)).toEqual(['directory d/', 'file next']);
  });

  it('reads numbers behind blanks and NULs, and none as 0', () => {
    const archive = tarArchive([{ name: 'n', uid: 0, gid: 0, mode: 0 }]);
    archive.write('\0\0 755\0\0', 100, 'latin1');
    archive.fill(0, 108, 116);
    archive.fill(0x20, 116, 124);
    archive.write('        ', 148);
    const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    expect(read(archive)[0]).toMatchObject({ mode: 0o755, uid: 0, gid: 0 });
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
    ['a sparse file that is not of GNU tar', tarArchive([{ name: 'n', type: 'S' }]), /sparse, but not of GNU tar/],
    ['an unknown sparse format', sparse('', { 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0' }), /format 2\.0/],
    ['a sparse file without a size', sparse('', { 'GNU.sparse.map': '0,0' }), /size .*not a number/],
    ['a sparse map that lacks a number', sparse('xx', { 'GNU.sparse.map': '0,1,1', 'GNU.sparse.size': '9' }), /lacks/],
    [
      'a sparse map that overlaps',
      sparse('xx', { 'GNU.sparse.map': '1,1,1,1', 'GNU.sparse.size': '9' }),
      /fit its size/,
    ],
    [
      'a sparse map that goes back',
      sparse('xx', { 'GNU.sparse.map': '4,1,3,1', 'GNU.sparse.size': '9' }),
      /fit its size/,
    ],
    ['a sparse map beyond the size', sparse('xx', { 'GNU.sparse.map': '8,2', 'GNU.sparse.size': '9' }), /fit its size/],
    ['a sparse map of less data', sparse('xx', { 'GNU.sparse.map': '0,1', 'GNU.sparse.size': '9' }), /2 bytes.*map 1/],
    ['a sparse size beyond any', sparse('', { 'GNU.sparse.map': '0,0', 'GNU.sparse.size': '99999999999999' }), /size/],
    ['a sparse map in the data that never ends', sparse('2\n0\n1\n', sparse1), /map .*truncated/],
    ['a sparse map in the data without numbers', sparse(`x\n${'\0'.repeat(510)}`, sparse1), /not a number/],
    ['an archive that ends in a sparse map', gnuSparse({ extended: true }), /truncated|map/],
    ['an unknown type', tarArchive([{ name: 'n', type: 'Z' }]), /unknown type/],
    ['an owner out of range', tarArchive([{ name: 'n', pax: { uid: '4294967295' } }]), /owner/],
    ['members after the end mark', Buffer.concat([Buffer.alloc(512), valid]), /end mark/],
  ];
  it.each(hostile)('refuses %s', (_what, archive, message) => {
    expect(() => read(archive)).toThrow(message);
  });
});
