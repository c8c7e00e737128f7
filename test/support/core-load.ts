import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { BerthError } from '#common/errors.ts';
import { chainIdsOf } from '../../apps/core/unpack/image-unpacker.ts';
import { busyboxImage, digestOf, type TestImage } from './busybox-image.ts';
import { createContainer } from './container.ts';
import type { Place } from './core-consistency.ts';
import type { Random } from './random.ts';
import type { Registry } from './registry.ts';
import { pull } from './transfers.ts';

/** What is sure of a name: `unsure` from the begin of an operation until its answer. */
type Known = 'present' | 'absent' | 'unsure';

export interface ExpectedImage {
  readonly known: Known;
  readonly image: TestImage;
  /** Digests of some of its files. */
  readonly files: ReadonlyMap<string, string>;
  /** Chain ids, the lowest first. */
  readonly chain: readonly string[];
}

/** What has to be found in the daemon. */
export interface Expected {
  readonly images: ReadonlyMap<string, ExpectedImage>;
  readonly containers: ReadonlyMap<string, Known>;
}

const imageCount = 4;
const mostContainers = 5;
/** Calls are made anew when the daemon is back. */
const patient = { waitForReady: true, timeoutMs: 60_000 };
/** What an operation answers when it has already been done, or was cut short by the kill. */
const benign = ['not_found', 'already_exists', 'unavailable', 'canceled', 'failed_precondition', 'unknown', 'aborted'];

/** Clients that pull, run and delete until they are stopped, and remember what the daemon told them. */
export class CoreLoad {
  readonly figures = { pulls: 0, runs: 0, deletes: 0, cut: 0 };
  readonly #place: Place;
  readonly #random: Random;
  readonly #images = new Map<string, { -readonly [K in keyof ExpectedImage]: ExpectedImage[K] }>();
  readonly #containers = new Map<string, Known>();
  readonly #busy = new Set<string>();
  /** Image that stays, for containers to run from. */
  readonly #base: string;
  #stopped = true;
  #ids = 0;

  private constructor(place: Place, random: Random, base: string) {
    this.#place = place;
    this.#random = random;
    this.#base = base;
  }

  static async prepare(place: Place, registry: Registry, random: Random): Promise<CoreLoad> {
    const base = busyboxImage();
    const busybox = ['bin/busybox', digestOf(readFileSync('/bin/busybox'))] as const;
    const reference = await registry.push(base, 'base');
    await pull(place.clients, reference);
    const load = new CoreLoad(place, random, chainOf(base).at(-1) as string);
    load.#images.set(reference, {
      known: 'present',
      image: base,
      files: new Map([busybox]),
      chain: chainOf(base),
    });
    for (let number = 0; number < imageCount; number++) {
      const file = { name: `own/${number}`, data: random.bytes(400_000) };
      const image = busyboxImage({ files: [file] });
      load.#images.set(await registry.push(image, `image-${number}`), {
        known: 'absent',
        image,
        files: new Map([busybox, [file.name, digestOf(file.data)]]),
        chain: chainOf(image),
      });
    }
    return load;
  }

  expected(): Expected {
    return { images: this.#images, containers: this.#containers };
  }

  /** Works until `stop`; operations under way are waited for. */
  async work(): Promise<void> {
    this.#stopped = false;
    const workers = [() => this.#imageTurn(), () => this.#runTurn(), () => this.#runTurn(), () => this.#deleteTurn()];
    await Promise.all(
      workers.map(async (turn) => {
        while (!this.#stopped) await turn();
      }),
    );
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Deletes all there is, as an operator would. */
  async deleteAll(): Promise<void> {
    const { clients } = this.#place;
    for (const id of this.#containers.keys()) await this.#tearDown(id);
    for (const { name } of (await clients.images.list({}, patient)).images) await clients.images.delete({ name });
    // What was fetched for a pull that was cut short waits for the next one.
    for (const { ref } of (await clients.content.listStatuses({})).statuses) await clients.content.abort({ ref });
    for (const { id } of (await clients.leases.list({})).leases) await clients.leases.delete({ id });
    await clients.leases.create({ id: 'last' });
    await clients.leases.delete({ id: 'last', sync: true });
  }

  async #imageTurn(): Promise<void> {
    const names = [...this.#images.keys()].slice(1);
    const name = this.#random.pick(names);
    const entry = this.#images.get(name);
    if (entry === undefined) return;
    const deleting = entry.known !== 'absent' && this.#random.chance(0.5);
    entry.known = 'unsure';
    const done = await this.#attempt(async () => {
      if (!deleting) await pull(this.#place.clients, name);
      else await this.#place.clients.images.delete({ name, sync: this.#random.chance(0.3) });
    });
    if (!done) return;
    entry.known = deleting ? 'absent' : 'present';
    this.figures[deleting ? 'deletes' : 'pulls']++;
  }

  async #runTurn(): Promise<void> {
    if (this.#containers.size >= mostContainers) return void (await sleep(5));
    const id = `c${++this.#ids}`;
    this.#containers.set(id, 'unsure');
    this.#busy.add(id);
    const done = await this.#attempt(async () => {
      await createContainer(this.#place, { id, chain: this.#base, args: ['sleep', '1000'] });
      await this.#place.clients.tasks.create({ containerId: id });
      await this.#place.clients.tasks.start({ containerId: id });
    });
    this.#busy.delete(id);
    if (!done) return;
    this.#containers.set(id, 'present');
    this.figures.runs++;
  }

  async #deleteTurn(): Promise<void> {
    const idle = [...this.#containers.keys()].filter((each) => !this.#busy.has(each));
    if (idle.length === 0) return void (await sleep(5));
    const id = this.#random.pick(idle);
    this.#containers.set(id, 'unsure');
    this.#busy.add(id);
    const done = await this.#attempt(() => this.#tearDown(id));
    this.#busy.delete(id);
    if (!done) return;
    this.#containers.delete(id);
    this.figures.deletes++;
  }

  /** Of a container in whatever state: what isn't there need not be deleted. */
  async #tearDown(id: string): Promise<void> {
    const { tasks, containers, snapshots } = this.#place.clients;
    await absent(tasks.kill({ containerId: id, signal: 9 }));
    if (!(await absent(tasks.wait({ containerId: id }, { timeoutMs: 60_000 }))))
      await absent(tasks.delete({ containerId: id }));
    await absent(containers.delete({ id }));
    await absent(snapshots.remove({ snapshotter: 'overlayfs', key: id }));
  }

  /** Whether it was done; false when the daemon was killed meanwhile. @throws any other error */
  async #attempt(operation: () => Promise<void>): Promise<boolean> {
    try {
      await operation();
      return true;
    } catch (error) {
      if (error instanceof BerthError && benign.includes(error.code) && (await this.#killed())) {
        this.figures.cut++;
        return false;
      }
      throw error;
    }
  }

  /** An error is the kill's doing when that comes within a moment. */
  async #killed(): Promise<boolean> {
    for (let tries = 0; tries < 100 && !this.#stopped; tries++) await sleep(10);
    return this.#stopped;
  }
}

function chainOf({ layers }: TestImage): string[] {
  return chainIdsOf(layers.map(({ data }) => digestOf(gunzipSync(data))));
}

/** Whether the call found nothing to work on. */
async function absent(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return false;
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') return true;
    throw error;
  }
}
