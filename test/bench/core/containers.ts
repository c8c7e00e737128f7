import { packJson, typeUrls } from '#common/typeurl.ts';
import { privateMiB, proportionalMiB } from '../memory.ts';
import { type Figures, timed } from './figures.ts';
import type { BenchSide } from './side.ts';

/** How many containers there are, and how often they are listed. */
const sizes = [
  [10, 200],
  [1000, 20],
  [10_000, 5],
] as const;
const gets = 300;
/** Creations at a time: as many as a busy node makes, so that the client isn't what is measured. */
const lanes = 8;

/** As large as the spec of an ordinary pod's container. */
const spec = packJson(typeUrls.spec, {
  ociVersion: '1.0.2',
  process: { env: Array(30).fill('NAME=some value of it') },
});
const labels = { 'io.kubernetes.pod.name': 'pod', 'io.kubernetes.pod.namespace': 'default', app: 'bench' };

/** Records of containers, ever more of them, and what that does to each call and to memory. */
export async function measureContainers(side: BenchSide, figures: Figures): Promise<void> {
  const { containers } = side.clients;
  const create = (index: number) =>
    containers.create({
      container: {
        id: `c${index}`,
        image: 'docker.io/library/busybox:latest',
        ...{ labels, spec, runtime: { name: 'io.containerd.runc.v2' } },
      },
    });
  let made = 0;
  const perCreate: number[] = [];
  for (const [size, lists] of sizes) {
    const cpu = side.cpu.usedMs();
    const count = size - made;
    const ms = await timed(async () => {
      const lane = async (): Promise<void> => {
        while (made < size) await create(made++);
      };
      await Promise.all(Array.from({ length: lanes }, lane));
    });
    perCreate.push(ms / count);
    if (size > 10) {
      figures.add(`containers: create up to ${size}, ms each`, ms / count);
      figures.add(`containers: create up to ${size}, ms of CPU each`, (side.cpu.usedMs() - cpu) / count);
    }
    await figures.calls(`containers: get, of ${size}`, side, gets, (index) =>
      containers.get({ id: `c${index % size}` }),
    );
    await figures.calls(`containers: list ${size}`, side, lists, () => containers.list({}));
    await figures.calls(`containers: listStream ${size}`, side, lists, () =>
      Array.fromAsync(containers.listStream({})),
    );
  }
  const [, early = 0, late = 0] = perCreate;
  figures.add('containers: growth of create, 1,000 to 10,000', late / early);
  const list = (size: number): number => (figures.of(`containers: list ${size}, ms`).at(-1) ?? 0) / size;
  figures.add('containers: growth of list per item, 1,000 to 10,000', list(10_000) / list(1000));
  figures.add('10,000 containers: private memory, MiB', privateMiB(side.pid));
  figures.add('10,000 containers: proportional memory, MiB', proportionalMiB(side.pid));
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (made > 0) await containers.delete({ id: `c${--made}` });
    }),
  );
}
