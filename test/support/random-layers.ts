import { Random } from './random.ts';
import { type TarMember, tarArchive } from './tar-archive.ts';

const NAMES = ['a', 'b', 'c', 'usr', 'lib', 'Ünïcode ☃', 'with space', '.hidden', 'long'.repeat(30)];

/** What the layers so far show. */
type Shown = Map<string, TarMember & { readonly linked?: boolean }>;

/**
 * Layers that build on each other, as builders write them: each path once, whatever changes with the directories around
 * it. What a specification leaves open doesn't occur: members of one path, whiteouts of the same layer's files.
 */
export function randomLayers(seed: number): Buffer[] {
  const random = new Random(seed);
  const shown: Shown = new Map();
  return [60, 40, 40].map((changes) => tarArchive(layer(random, shown, changes)));
}

function layer(random: Random, shown: Shown, changes: number): TarMember[] {
  const lower = [...shown.keys()];
  const here = new Map<string, TarMember>();
  const whiteouts: TarMember[] = [];
  const linksTo = new Set<string>();
  const isTouched = (path: string): boolean =>
    [...here.keys(), ...linksTo].some((other) => other === path || other.startsWith(`${path}/`));
  const remove = (path: string): void => {
    for (const known of [...shown.keys()]) if (known === path || known.startsWith(`${path}/`)) shown.delete(known);
  };
  /** Directories around it are part of the layer. */
  const put = (path: string, member: TarMember): void => {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
      const directory = path.slice(0, at);
      if (!here.has(directory)) here.set(directory, { ...directoryMember(random), ...shown.get(directory) });
      shown.set(directory, here.get(directory) as TarMember);
    }
    here.set(path, member);
    shown.set(path, member);
  };
  for (let change = 0; change < changes; change++) {
    const parent = random.pick(['', ...pathsOf(shown, '5')]);
    const path = parent === '' ? random.pick(NAMES) : `${parent}/${random.pick(NAMES)}`;
    if (path.split('/').length > 6 || isTouched(path)) continue;
    const victim = lower.length > 0 && random.chance(0.3) ? random.pick(lower) : undefined;
    if (victim !== undefined) {
      if (!shown.has(victim) || isTouched(victim)) continue;
      const opaque = shown.get(victim)?.type === '5' && random.chance(0.3);
      const at = victim.lastIndexOf('/') + 1;
      if (opaque) {
        const directory = shown.get(victim) as TarMember;
        remove(victim);
        put(victim, directory);
        whiteouts.push({ name: `${victim}/.wh..wh..opq` });
      } else {
        if (at > 0) put(victim.slice(0, at - 1), shown.get(victim.slice(0, at - 1)) as TarMember);
        remove(victim);
        // Nothing else may come there in this layer.
        linksTo.add(victim);
        whiteouts.push({ name: `${victim.slice(0, at)}.wh.${victim.slice(at)}` });
      }
      continue;
    }
    const target = random.pick([
      '',
      ...[...shown].filter(([, { type, linked }]) => type === '0' && !linked).map(([name]) => name),
    ]);
    if (target !== '' && target !== path && !target.startsWith(`${path}/`) && random.chance(0.2)) {
      const file = { ...(shown.get(target) as TarMember), linked: true };
      remove(path);
      put(path, { ...file, type: '1', linkName: target, data: '' });
      shown.set(path, file);
      shown.set(target, file);
      linksTo.add(target);
      continue;
    }
    const member = anyMember(random);
    if (member.type !== '5' || shown.get(path)?.type !== '5') remove(path);
    put(path, member);
  }
  const members = [...here].map(([path, member]) => withName(path, member));
  // Directories first, then what is gone, files, and the links to them.
  const order = ({ type }: TarMember): number => (type === '5' ? 0 : type === '1' ? 3 : 2);
  const sorted = members.sort((one, other) => order(one) - order(other) || (one.name < other.name ? -1 : 1));
  const directories = sorted.filter(({ type }) => type === '5');
  return [
    ...directories,
    ...whiteouts.map((member) => withName(member.name, member)),
    ...sorted.slice(directories.length),
  ];
}

function pathsOf(shown: Shown, type: string): string[] {
  return [...shown].filter(([, member]) => member.type === type).map(([path]) => path);
}

/** Names and targets beyond a header's 100 bytes, or in UTF-8, go into a pax header. */
function withName(path: string, { linkName = '', pax = {}, ...member }: TarMember): TarMember {
  const names = { path, ...(linkName === '' ? {} : { linkpath: linkName }) };
  return { ...member, linkName: 'l', name: 'n', pax: { ...pax, ...names } };
}

function directoryMember(random: Random): TarMember {
  return { name: '', type: '5', mode: random.pick([0o755, 0o700, 0o1777, 0o2775]), ...common(random) };
}

function anyMember(random: Random): TarMember {
  const mode = random.pick([0o644, 0o600, 0o755, 0o4755, 0o2711]);
  const kind = random.pick(['5', '5', '5', '0', '0', '0', '0', '2', '6', '3', '4']);
  if (kind === '5') return directoryMember(random);
  if (kind === '2') return { name: '', type: '2', linkName: random.pick(NAMES), mode: 0o777, ...common(random) };
  if (kind === '6') return { name: '', type: '6', mode, ...common(random) };
  if (kind === '0') {
    const { pax, ...facts } = common(random);
    const note = random.bytes(random.int(40) + 1);
    const all = random.chance(0.3) ? { ...pax, 'SCHILY.xattr.user.note': note } : pax;
    return { name: '', type: '0', mode, data: random.bytes(random.int(3000)), ...facts, pax: all };
  }
  return { name: '', type: kind, mode, major: random.int(4000) + 1, minor: random.int(100_000), ...common(random) };
}

function common(random: Random) {
  const mtime = 1_000_000_000 + random.int(700_000_000);
  const pax: Record<string, string> = random.chance(0.5)
    ? { mtime: `${mtime}.${String(random.int(1e9)).padStart(9, '0')}` }
    : {};
  return { uid: random.pick([0, 1000, 70_000, 3_000_000]), gid: random.pick([0, 12, 100_000]), mtime, pax };
}
