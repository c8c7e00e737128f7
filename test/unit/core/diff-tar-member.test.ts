import { describe, expect, it } from 'vitest';
import { memberHeader, type TarMember } from '../../../apps/core/diff/tar-member.ts';
import { TarReader } from '../../../apps/core/unpack/tar-reader.ts';

const plain: TarMember = { kind: 'file', name: 'f', mode: 0o644, uid: 0, gid: 0, mtime: 0n };

/** The entry that a header describes, as the reader of layers understands it. */
function read(member: TarMember) {
  for (const event of new TarReader().push(memberHeader(member))) {
    if (event.type === 'entry') return event.entry;
  }
  throw new Error('the header describes no entry');
}

describe('the header of a member', () => {
  it.each<[string, Partial<TarMember>]>([
    ['a name that just fits', { name: 'n'.repeat(100) }],
    ['a long name', { name: `${'d/'.repeat(200)}name` }],
    ['a name in no UTF-8', { name: `caf\xe9-${'x'.repeat(120)}` }],
    ['a symlink to far away', { kind: 'symlink', linkName: `../${'l'.repeat(101)}` }],
    ['a hard link', { kind: 'hardlink', linkName: 'other' }],
    ['big owners', { uid: 0o7777777, gid: 4_294_967_294 }],
    ['a size that octal digits hold', { size: 0o77777777777 }],
    ['a size that they don’t', { size: 0o100000000000 }],
    ['a fraction of a second', { mtime: 1_234_567_890_000_000_001n }],
    ['a time before the epoch', { mtime: -1_500_000_000n }],
    ['a time far off', { mtime: 99_999_999_999_000_000_000n }],
    ['all permission bits', { kind: 'directory', name: 'd/', mode: 0o7777 }],
    ['a device', { kind: 'block', major: 259, minor: 1_000_000 }],
  ])('keeps %s', (_, facts) => {
    const { linkName = '', size = 0, major = 0, minor = 0, ...rest } = { ...plain, ...facts };
    expect(read({ ...plain, ...facts })).toMatchObject({ ...rest, linkName, size, major, minor });
  });

  it('keeps extended attributes byte for byte', () => {
    const xattrs: [string, Buffer][] = [
      ['user.note', Buffer.from('a=b\n\0\xff', 'latin1')],
      ['security.capability', Buffer.from('0100000200200000', 'hex')],
    ];
    expect([...read({ ...plain, xattrs }).xattrs]).toEqual(xattrs);
  });

  it('has no extension where ustar will do', () => {
    expect(memberHeader(plain)).toHaveLength(512);
    expect(memberHeader({ ...plain, mtime: 1_000_000_000n, name: 'n'.repeat(100) })).toHaveLength(512);
  });
});
