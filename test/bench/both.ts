import { existsSync, readFileSync } from 'node:fs';
import { busyboxImage } from '../support/busybox-image.ts';
import { Registry } from '../support/registry.ts';
import { startBerth } from './berth.ts';
import { type BenchOptions, startContainerd } from './containerd.ts';
import type { BenchRuntime } from './runtime.ts';

const pausePath = new URL('../../dist/pause', import.meta.url).pathname;

/** Berth and Debian's containerd, each in a folder below `dir`, with the same images and runc; `stack` stops them. */
export async function startBoth(dir: string, cgroup: string, stack: AsyncDisposableStack): Promise<BenchRuntime[]> {
  const registry = stack.use(await Registry.start(dir));
  const image = await registry.push(busyboxImage(), 'library/busybox');
  const options = { cgroup: `/${cgroup}`, image, pauseImage: await registry.push(pauseImage(), 'pause', '3.10.1') };
  const start = async (
    name: string,
    starter: (options: BenchOptions) => Promise<BenchRuntime>,
  ): Promise<BenchRuntime> => stack.use(await starter({ ...options, dir: `${dir}/${name}` }));
  return [await start('berth', startBerth), await start('containerd', startContainerd)];
}

/** The pause program of Berth for both, so that the peer starts the same process. */
function pauseImage(): ReturnType<typeof busyboxImage> {
  if (!existsSync(pausePath)) throw new Error(`${pausePath} is missing: run "npm run build"`);
  return busyboxImage({
    entrypoint: ['/pause'],
    cmd: [],
    files: [{ name: 'pause', mode: 0o755, data: readFileSync(pausePath) }],
  });
}
