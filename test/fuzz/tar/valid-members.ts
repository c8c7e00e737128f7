import type { Random } from '../../support/random.ts';
import type { TarMember } from '../../support/tar-archive.ts';

/** Bytes of names, as `latin1`: ASCII, UTF-8, and what is neither. */
const letters = [
  'a',
  'b',
  'C',
  '0',
  '-',
  ' ',
  '.x',
  'é',
  Buffer.from('ü日').toString('latin1'),
  '\xff',
  'long'.repeat(30),
];

/**
 * Members that GNU tar unpacks without a word: each parent is described before what it holds, and a name comes again only
 * as a file over a file.
 */
export function validMembers(random: Random): TarMember[] {
  const members: TarMember[] = [];
  const directories = [''];
  const files: string[] = [];
  const taken = new Set<string>();
  for (let count = 2 + random.int(30); count > 0; count--) {
    const path = `${random.pick(directories)}${nameOf(random)}`;
    if (taken.has(path) || path.length > 700) continue;
    taken.add(path);
    const type = random.pick(['5', '5', '0', '0', '0', '\0', '2', '1', '3', '4', '6']);
    const again = type === '0' && files.length > 0 && random.chance(0.1);
    const name = again ? random.pick(files) : path;
    members.push(...named(random, type === '5' ? `${name}/` : name, detailsOf(random, type, files)));
    if (type === '5') directories.push(`${path}/`);
    if (type === '0' && !again) files.push(path);
  }
  return members;
}

function nameOf(random: Random): string {
  return random.pick(letters) + random.some(2, () => random.pick(letters)).join('') + random.int(100);
}

function detailsOf(random: Random, type: string, files: readonly string[]): TarMember {
  const common = {
    ...{ name: '', mode: 0o600 | random.int(0o7777), uid: ownerOf(random), gid: ownerOf(random) },
    mtime: random.mostly([0, 1, 1_700_000_000, 2 ** 31 + 5], [-5, 2 ** 33 + 1]),
  };
  if (type === '1' && files.length > 0) return { ...common, type, linkName: random.pick(files) };
  if (type === '2')
    return { ...common, type, linkName: random.pick(['a', '../b', '/etc/passwd', 'é\xff', 'x'.repeat(160)]) };
  if (type === '3' || type === '4') return { ...common, type, major: 1 + random.int(200), minor: random.int(255) };
  if (type === '5' || type === '6') return { ...common, type };
  const pax: Record<string, Buffer> = random.chance(0.2)
    ? { 'SCHILY.xattr.user.note': random.bytes(1 + random.int(40)) }
    : {};
  return {
    ...{ ...common, type: type === '\0' ? type : '0' },
    data: random.bytes(random.pick([0, 1, 511, 512, 513, 5_000, random.int(40_000)])),
    pax: random.chance(0.2) ? { ...pax, mtime: `${random.int(2_000_000_000)}.${random.int(999_999_999)}` } : pax,
  };
}

function ownerOf(random: Random): number {
  return random.mostly([0, 0, 1000, 65_534], [0o7777777, 2 ** 21 + 7, 2 ** 31 + 1]);
}

/** A long name comes in a pax record or in GNU's own way, a short one in the header. */
function named(random: Random, name: string, details: TarMember): TarMember[] {
  const { linkName = '', pax = {}, ...rest } = details;
  if (random.chance(0.5)) {
    const long = (type: string, text: string): TarMember[] =>
      text.length < 100 ? [] : [{ name: '././@LongLink', type, data: Buffer.from(`${text}\0`, 'latin1') }];
    const gnu = { ...rest, name: name.slice(0, 99), linkName: linkName.slice(0, 99), magic: 'ustar  \0' };
    return [...long('L', name), ...long('K', linkName), Object.keys(pax).length === 0 ? gnu : { ...gnu, pax }];
  }
  const records = {
    ...pax,
    ...(name.length < 100 ? {} : { path: Buffer.from(name, 'latin1') }),
    ...(linkName.length < 100 ? {} : { linkpath: Buffer.from(linkName, 'latin1') }),
  };
  const ustar = { ...rest, name: name.slice(0, 99), linkName: linkName.slice(0, 99) };
  return [Object.keys(records).length === 0 ? ustar : { ...ustar, pax: records }];
}
