import type { Random } from '../../support/random.ts';
import { filters, knownNamespace, labels, lease, mask, namespace } from './inputs.ts';
import { type Operations, operation } from './operation.ts';

/** Keys of active snapshots, and names of committed ones. Few enough for cycles to be tried. */
const keys = ['k1', 'k2', 'k3'];
const names = ['s1', 's2', 's3'];

function snapshotter(random: Random): string {
  return random.mostly(['overlayfs'], ['', 'nonsense'], 0.02);
}

function key(random: Random): string {
  return random.mostly(keys, [...names, '', 'a/b', 'k'.repeat(300)], 0.15);
}

function any(random: Random): string {
  return random.mostly([...keys, ...names], ['', 'a/b', 'none'], 0.08);
}

function snapshotLabels(random: Random): Record<string, string> {
  if (!random.chance(0.1)) return labels(random);
  return { 'containerd.io/snapshot.ref': random.pick(names) };
}

function prepareArgs(random: Random) {
  return {
    ns: knownNamespace(random),
    lease: lease(random),
    request: {
      snapshotter: snapshotter(random),
      key: key(random),
      parent: random.mostly(['', ...names], [...keys, 'none'], 0.12),
      labels: snapshotLabels(random),
    },
  };
}

export const snapshotOperations: Operations = {
  'snapshots.prepare': operation(10, prepareArgs, (side, { request, ...scope }) =>
    side.clients.snapshots.prepare(request, side.options(scope)),
  ),
  'snapshots.view': operation(4, prepareArgs, (side, { request, ...scope }) =>
    side.clients.snapshots.view(request, side.options(scope)),
  ),
  'snapshots.commit': operation(
    9,
    (random) => ({
      ns: knownNamespace(random),
      lease: lease(random),
      request: {
        snapshotter: snapshotter(random),
        key: key(random),
        name: random.mostly(names, [...keys, ''], 0.1),
        labels: snapshotLabels(random),
      },
    }),
    (side, { request, ...scope }) => side.clients.snapshots.commit(request, side.options(scope)),
  ),
  'snapshots.mounts': operation(
    4,
    (random) => ({ ns: namespace(random), request: { snapshotter: snapshotter(random), key: any(random) } }),
    (side, { request, ...scope }) => side.clients.snapshots.mounts(request, side.options(scope)),
  ),
  'snapshots.stat': operation(
    4,
    (random) => ({ ns: namespace(random), request: { snapshotter: snapshotter(random), key: any(random) } }),
    (side, { request, ...scope }) => side.clients.snapshots.stat(request, side.options(scope)),
  ),
  'snapshots.usage': operation(
    3,
    (random) => ({ ns: namespace(random), request: { snapshotter: snapshotter(random), key: any(random) } }),
    (side, { request, ...scope }) => side.clients.snapshots.usage(request, side.options(scope)),
  ),
  'snapshots.remove': operation(
    4,
    (random) => ({ ns: namespace(random), request: { snapshotter: snapshotter(random), key: any(random) } }),
    (side, { request, ...scope }) => side.clients.snapshots.remove(request, side.options(scope)),
  ),
  'snapshots.update': operation(
    5,
    (random) => ({
      ns: namespace(random),
      request: {
        snapshotter: snapshotter(random),
        info: { name: any(random), labels: labels(random) },
        updateMask: mask(random, 'parent', 'name'),
      },
    }),
    (side, { request, ...scope }) => side.clients.snapshots.update(request, side.options(scope)),
  ),
  'snapshots.list': operation(
    3,
    (random) => ({
      ns: namespace(random),
      request: {
        snapshotter: snapshotter(random),
        filters: filters(
          random,
          'kind==active',
          'kind==committed',
          'name==k1',
          'parent==s1',
          'parent',
          'kind~=(?i)VIEW',
        ),
      },
    }),
    async (side, { request, ...scope }) => {
      const lists = await Array.fromAsync(side.clients.snapshots.list(request, side.options(scope)));
      return lists.flatMap(({ info }) => info).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
  ),
  'snapshots.cleanup': operation(
    1,
    (random) => ({ ns: 'main', request: { snapshotter: snapshotter(random) } }),
    (side, { request, ...scope }) => side.clients.snapshots.cleanup(request, side.options(scope)),
  ),
};
