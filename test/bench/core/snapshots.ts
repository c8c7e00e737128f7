import type { Figures } from './figures.ts';
import type { BenchSide } from './side.ts';

const count = 150;
const snapshotter = 'overlayfs';

/** A chain of small layers: each is prepared, committed and looked at, and all are removed from the top. */
export async function measureSnapshots(side: BenchSide, figures: Figures): Promise<void> {
  const { snapshots, leases } = side.clients;
  await leases.create({ id: 'snapshots' });
  const lease = { lease: 'snapshots' };
  const key = (index: number): string => `key-${index}`;
  const name = (index: number): string => `name-${index}`;
  // Of ten layers at most, as images have.
  const parent = (index: number): string => (index % 10 === 0 ? '' : name(index - 1));
  for (let index = 0; index < count; index++) {
    await snapshots.prepare({ snapshotter, key: key(index), parent: parent(index) }, lease);
    await snapshots.commit({ snapshotter, key: key(index), name: name(index) }, lease);
  }
  await figures.calls('snapshots: prepare', side, count, (index) =>
    snapshots.prepare({ snapshotter, key: `top-${index}`, parent: name(index) }, lease),
  );
  await figures.calls('snapshots: stat', side, count, (index) => snapshots.stat({ snapshotter, key: name(index) }));
  await figures.calls('snapshots: mounts', side, count, (index) =>
    snapshots.mounts({ snapshotter, key: `top-${index}` }),
  );
  await figures.calls('snapshots: commit', side, count, (index) =>
    snapshots.commit({ snapshotter, key: `top-${index}`, name: `done-${index}` }, lease),
  );
  await figures.calls('snapshots: remove', side, count, (index) =>
    snapshots.remove({ snapshotter, key: `done-${index}` }),
  );
  await leases.delete({ id: 'snapshots', sync: true });
}
