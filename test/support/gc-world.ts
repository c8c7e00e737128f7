import type { Random } from './random.ts';

/*
 * Random collections of resources for the garbage collector, and a second opinion on what of them is garbage.
 */

type Labels = Readonly<Record<string, string>>;

interface Named {
  readonly ns: string;
  readonly id: string;
  readonly labels: Labels;
}

export interface World {
  readonly images: readonly (Named & { readonly digest: string })[];
  readonly blobs: readonly Named[];
  readonly ingests: readonly (Named & { readonly expected: string | null; readonly expiresAt: number })[];
  /** `id` is `<snapshotter>/<key>`; `parent` is an id of the same namespace and snapshotter. */
  readonly snapshots: readonly (Named & { readonly parent: string | null })[];
  readonly containers: readonly (Named & { readonly snapshot: string | null })[];
  readonly sandboxes: readonly Named[];
  readonly leases: readonly (Named & { readonly resources: readonly (readonly [type: string, id: string])[] })[];
}

const hourMs = 3_600_000;
const gc = 'containerd.io/gc';
const snapshotters = ['overlayfs', 'native'] as const;

/** Names come from small pools, so that references meet; some of them lead nowhere. */
export function randomWorld(random: Random, now: number): World {
  const ns = () => random.pick(['n', 'm']);
  const digest = () => `sha256:${String(random.int(9)).repeat(64)}`;
  const image = () => `image-${random.int(4)}`;
  const container = () => `container-${random.int(4)}`;
  const key = () => `s${random.int(7)}`;
  const time = () => new Date(now + random.pick([-2, -1, 1, 2]) * hourMs).toISOString();
  const suffix = () => random.pick(['', '', '.x', '/y.0', 'z']);

  const label = (): [string, string] => {
    const direction = random.pick(['ref', 'ref', 'bref']);
    const snapshotter = random.pick(snapshotters);
    return random.pick<() => [string, string]>([
      () => [`${gc}.${direction}.content${suffix()}`, digest()],
      () => [`${gc}.${direction}.content${suffix()}`, digest()],
      () => [`${gc}.${direction}.snapshot.${snapshotter}${random.pick(['', '/x'])}`, key()],
      () => [`${gc}.${direction}.snapshot.${snapshotter}`, key()],
      () => [`${gc}.${direction}.image${suffix()}`, image()],
      () => [`${gc}.bref.container${suffix()}`, container()],
      () => [`${gc}.root${random.pick(['', '.x'])}`, 'x'],
      () => [`${gc}.expire`, random.pick([time(), time(), 'soon'])],
      () => [`${gc}.cond.snapshot.${snapshotter}${random.pick(['', '/x'])}`, `${condition(random)}|${key()}`],
      () => [`${gc}.cond.snapshot.${snapshotter}`, `${condition(random)}|${key()}`],
      () => ['containerd.io/other', digest()],
    ])();
  };
  const labels = (): Labels => Object.fromEntries(random.some(2, label));
  const unique = <T extends Named>(most: number, make: () => T): T[] => {
    const made = new Map(random.some(most, make).map((one) => [`${one.ns} ${one.id}`, one]));
    return [...made.values()];
  };

  const snapshots: (Named & { parent: string | null })[] = [];
  const used = () => Object.fromEntries(random.some(1, () => [`${gc}.cond.value-usedat`, time()]));
  const snapshot = (): Named => ({
    ns: ns(),
    id: `${random.pick(snapshotters)}/${key()}`,
    labels: { ...labels(), ...used() },
  });
  for (const one of unique(20, snapshot)) {
    const [kind] = one.id.split('/');
    const below = snapshots.filter(({ ns, id }) => ns === one.ns && id.startsWith(`${kind}/`)).map(({ id }) => id);
    snapshots.push({ ...one, parent: random.pick([null, ...below]) });
  }
  const resource = (): [string, string] =>
    random.pick<() => [string, string]>([
      () => ['content', digest()],
      () => ['images', image()],
      () => ['ingests', `ref-${random.int(4)}`],
      () => [`snapshots/${random.pick(snapshotters)}`, key()],
    ])();
  return {
    images: unique(5, () => ({ ns: ns(), id: image(), digest: digest(), labels: labels() })),
    blobs: unique(16, () => ({ ns: ns(), id: digest(), labels: labels() })),
    ingests: unique(5, () => ({
      ns: ns(),
      id: `ref-${random.int(4)}`,
      labels: {},
      expected: random.pick([null, digest()]),
      expiresAt: random.pick([0, now - hourMs, now + hourMs]),
    })),
    snapshots,
    containers: unique(3, () => ({
      ns: ns(),
      id: container(),
      labels: labels(),
      snapshot: random.pick([null, `${random.pick(snapshotters)}/${key()}`]),
    })),
    sandboxes: unique(2, () => ({ ns: ns(), id: `sandbox-${random.int(3)}`, labels: labels() })),
    leases: unique(4, () => ({
      ns: ns(),
      id: `lease-${random.int(4)}`,
      labels: Object.fromEntries([
        ...random.some(1, (): [string, string] => [`${gc}.flat`, 'x']),
        ...random.some(1, (): [string, string] => [`${gc}.expire`, random.pick([time(), 'soon'])]),
      ]),
      resources: random.some(4, resource),
    })),
  };
}

function condition(random: Random): string {
  const one = () =>
    `${random.pick(['usedat', 'usedat', 'color'])}${random.pick(['<', '>', '<=', '='])}${random.pick(['90m', '1h30m', '30m', 'x'])}`;
  return [one(), ...random.some(1, one)].join(',');
}

/**
 * What must be left of a world, as `<kind> <ns> <id>`. It asks of each thing over and over whether something that is kept
 * wants it, until nothing is added: slow, and written from containerd's documentation alone.
 */
export function survivors(world: World, now: number): Set<string> {
  const kept = new Set<string>();
  // What flat leases hold: kept without what labels name.
  const flatly = new Set<string>();
  const past = ({ labels }: Named): boolean => {
    const time = labels[`${gc}.expire`] ?? '';
    return time.includes('T') && new Date(time).getTime() < now;
  };
  const isRoot = ({ labels }: Named): boolean => Object.keys(labels).some((key) => key.startsWith(`${gc}.root`));

  for (const lease of world.leases) {
    if (past(lease)) continue;
    kept.add(`lease ${lease.ns} ${lease.id}`);
    const held = `${gc}.flat` in lease.labels ? flatly : kept;
    for (const [type, id] of lease.resources) {
      if (type === 'content') held.add(`blob ${lease.ns} ${id}`);
      else if (type === 'images') held.add(`image ${lease.ns} ${id}`);
      else if (type === 'ingests') kept.add(`ingest ${lease.ns} ${id}`);
      else held.add(`snapshot ${lease.ns} ${type.slice('snapshots/'.length)}/${id}`);
    }
  }
  for (const image of world.images) if (!past(image)) kept.add(`image ${image.ns} ${image.id}`);
  for (const blob of world.blobs) if (isRoot(blob)) kept.add(`blob ${blob.ns} ${blob.id}`);
  for (const snapshot of world.snapshots) if (isRoot(snapshot)) kept.add(`snapshot ${snapshot.ns} ${snapshot.id}`);
  for (const ingest of world.ingests) if (ingest.expiresAt >= now) kept.add(`ingest ${ingest.ns} ${ingest.id}`);
  for (const { ns, id } of world.containers) kept.add(`container ${ns} ${id}`);
  for (const sandbox of world.sandboxes) for (const name of namesIn(sandbox, 'ref')) kept.add(name);

  const all = [
    ...world.images.map((one) => ({ kind: 'image', ...one })),
    ...world.blobs.map((one) => ({ kind: 'blob', ...one })),
    ...world.snapshots.map((one) => ({ kind: 'snapshot', ...one })),
    ...world.containers.map((one) => ({ kind: 'container', ...one })),
  ];
  for (let before = -1; before !== kept.size + flatly.size; ) {
    before = kept.size + flatly.size;
    for (const one of all) {
      const name = `${one.kind} ${one.ns} ${one.id}`;
      if (namesIn(one, 'bref').some((from) => kept.has(from))) kept.add(name);
      if (!kept.has(name)) continue;
      for (const to of namesIn(one, 'ref')) kept.add(to);
      if (one.kind === 'image' || one.kind === 'blob') for (const to of wantedFor(one, world, now)) kept.add(to);
    }
    for (const held of [kept, flatly]) {
      for (const { ns, id, digest } of world.images)
        if (held.has(`image ${ns} ${id}`)) held.add(`blob ${ns} ${digest}`);
      for (const { ns, id, parent } of world.snapshots) {
        if (parent !== null && held.has(`snapshot ${ns} ${id}`)) held.add(`snapshot ${ns} ${parent}`);
      }
    }
    for (const { ns, id, expected } of world.ingests) {
      if (expected !== null && kept.has(`ingest ${ns} ${id}`)) kept.add(`blob ${ns} ${expected}`);
    }
    for (const { ns, snapshot } of world.containers) if (snapshot !== null) kept.add(`snapshot ${ns} ${snapshot}`);
  }
  const everything = [
    ...all.filter(({ kind }) => kind !== 'container').map(({ kind, ns, id }) => `${kind} ${ns} ${id}`),
    ...world.ingests.map(({ ns, id }) => `ingest ${ns} ${id}`),
    ...world.leases.map(({ ns, id }) => `lease ${ns} ${id}`),
  ];
  return new Set(everything.filter((name) => kept.has(name) || flatly.has(name)));
}

/** What a thing's labels of one direction name. */
function namesIn({ ns, labels }: Named, direction: 'ref' | 'bref'): string[] {
  return Object.entries(labels).flatMap(([key, value]) => {
    const [, type = '', rest = ''] =
      /^containerd\.io\/gc\.(?:ref|bref)\.(content|image|container|snapshot)(.*)$/.exec(key) ?? [];
    if (!key.startsWith(`${gc}.${direction}.`)) return [];
    if (type === 'snapshot') return rest[0] === '.' ? [`snapshot ${ns} ${rest.slice(1).split('/')[0]}/${value}`] : [];
    if (rest !== '' && rest[0] !== '.' && rest[0] !== '/') return [];
    if (type === 'container') return direction === 'bref' ? [`container ${ns} ${value}`] : [];
    if (type === '') return [];
    return [`${type === 'content' ? 'blob' : 'image'} ${ns} ${value}`];
  });
}

/** Snapshots that an image or a blob wants on a condition which they meet. */
function wantedFor({ ns, labels }: Named, world: World, now: number): string[] {
  const ages: Readonly<Record<string, number>> = { '90m': 1.5, '1h30m': 1.5, '30m': 0.5 };
  return Object.entries(labels).flatMap(([key, value]) => {
    if (!key.startsWith(`${gc}.cond.snapshot.`)) return [];
    const [snapshotter] = key.slice(`${gc}.cond.snapshot.`.length).split('/');
    const [conditions = '', name] = value.split('|');
    const found = world.snapshots.find((one) => one.ns === ns && one.id === `${snapshotter}/${name}`);
    const used = found?.labels[`${gc}.cond.value-usedat`];
    if (!found || used === undefined) return [];
    const hours = (now - new Date(used).getTime()) / hourMs;
    const met = conditions.split(',').some((text) => {
      const limit = ages[text.slice('usedat<'.length)];
      if (limit === undefined) return false;
      return text.startsWith('usedat<') ? hours < limit : text.startsWith('usedat>') && hours > limit;
    });
    return met ? [`snapshot ${ns} ${found.id}`] : [];
  });
}

/** Smaller worlds, each without one thing or one label. */
export function* smaller(world: World): Generator<World> {
  for (const kind of Object.keys(world) as (keyof World)[]) {
    const things = world[kind];
    for (const [at, thing] of things.entries()) {
      if (kind === 'snapshots' && world.snapshots.some(({ ns, parent }) => ns === thing.ns && parent === thing.id))
        continue;
      yield { ...world, [kind]: things.toSpliced(at, 1) };
    }
    for (const [at, thing] of things.entries()) {
      for (const key of Object.keys(thing.labels)) {
        const { [key]: _, ...labels } = thing.labels;
        yield { ...world, [kind]: things.with(at, { ...thing, labels } as never) };
      }
    }
  }
}
