import type { Random } from '../../support/random.ts';
import type { TarMember } from '../../support/tar-archive.ts';

/** Few of them, so that members meet. */
const parts = [
  'a',
  'b',
  'c',
  'a',
  'b',
  '..',
  '.',
  '',
  'outside',
  '.wh.a',
  '.wh.b',
  '.wh..wh..opq',
  '.wh.',
  '.wh...',
  '\xff',
];
const targets = [
  'a',
  'b',
  '/',
  '..',
  '../..',
  '../outside',
  '/a/b',
  'c/../../..',
  '/proc/self/root',
  '/proc/1/root',
  'a/b',
  '',
];
const records: readonly Readonly<Record<string, string>>[] = [
  { path: '../outside/written' },
  { path: 'a\0b' },
  { path: '' },
  { linkpath: '/outside/secret' },
  { size: '99999999999' },
  { size: '-1' },
  { size: '3' },
  { mtime: '1e9' },
  { mtime: '-9999999999.5' },
  { uid: '4294967295' },
  { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '1000000000000' },
  { 'SCHILY.xattr.trusted.overlay.redirect': '/outside' },
  { 'SCHILY.xattr.trusted.overlay.opaque': 'y' },
  { 'SCHILY.xattr.security.capability': 'x' },
  { 'SCHILY.xattr.': 'x' },
  { 'SCHILY.xattr.user.big': 'x'.repeat(70_000) },
  { 'LIBARCHIVE.xattr.user.%00': '!' },
];

/** Members that try what an archive can try: names and links that lead out, whiteouts, things in each other's way, lies. */
export function hostileMembers(random: Random): TarMember[] {
  return Array.from({ length: 1 + random.int(25) }, () => {
    const data = random.bytes(random.mostly([0, 3, 600], [5_000, 70_000]));
    const path = Array.from({ length: 1 + random.int(4) }, () => random.pick(parts)).join('/');
    const type = random.mostly(
      ['0', '0', '1', '1', '2', '2', '5', '5', '5'],
      ['3', '4', '6', '7', '\0', 'S', 'g', 'x', 'L', 'K', 'V', 'D', '\xff'],
    );
    const member: TarMember = {
      ...{ name: path, type, linkName: random.chance(0.5) ? random.pick(targets) : path, mode: random.int(0o10000) },
      ...{ uid: random.int(3), gid: random.int(3), major: random.int(3), minor: random.int(3) },
      data: type === '0' || random.chance(0.2) ? data : '',
      ...(random.chance(0.12) ? { pax: random.pick(records) } : {}),
      ...(random.chance(0.03) ? { size: random.pick([-1, 2 ** 40, 2 ** 50, 1, 513]) } : {}),
    };
    return member;
  });
}

/** A change of some bytes of an archive, the same for the same seed. */
export function damaged(archive: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(archive);
  for (let count = 1 + random.int(6); count > 0 && bytes.length > 0; count--) {
    const at = random.int(bytes.length);
    const header = at - (at % 512);
    if (random.chance(0.5)) bytes[at] = random.int(256);
    else fixed(bytes, header, random);
  }
  return random.chance(0.2) ? bytes.subarray(0, random.int(bytes.length + 1)) : bytes;
}

/** Changes a field of what may be a header, and makes its checksum right again. */
function fixed(bytes: Buffer, header: number, random: Random): void {
  const [at, length] = random.pick([
    [0, 100],
    [100, 8],
    [108, 8],
    [124, 12],
    [136, 12],
    [156, 1],
    [157, 100],
    [257, 8],
    [345, 155],
  ] as const);
  if (header + 512 > bytes.length) return;
  random.bytes(1 + random.int(length)).copy(bytes, header + at);
  bytes.write('        ', header + 148);
  const sum = bytes.subarray(header, header + 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, header + 148);
}
