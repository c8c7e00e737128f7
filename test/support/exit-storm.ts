import { decode } from '#common/wire/codec.ts';
import type { BerthdSuite } from './berthd-suite.ts';
import { createContainer, removeContainer } from './container.ts';
import { shimProcesses } from './shim-processes.ts';
import { waitFor } from './wait-for.ts';

/** berthd with an image. */
export type StormBed = Pick<BerthdSuite, 'clients' | 'namespace'>;

/** What became of a container: the code that Wait told, and the one in its exit event. */
export interface StormExit {
  readonly waited: number;
  readonly told: number | undefined;
}

/**
 * Creates `count` containers, starts them all at once, each of which ends at once with a code of its own, and deletes
 * them. Answers the exits, in order; the code of container n is n % 256. When it returns no shim is left.
 */
export async function exitStorm(suite: StormBed, chain: string, count: number): Promise<StormExit[]> {
  const { tasks, events } = suite.clients;
  const ids = Array.from({ length: count }, (_, index) => `storm-${index}`);
  const told = new Map<string, number[]>();
  const stop = new AbortController();
  const reading = (async () => {
    const filters = [`namespace==${suite.namespace},topic=="/tasks/exit"`];
    for await (const { event } of events.subscribe({ filters }, { signal: stop.signal })) {
      const { containerId, exitStatus } = decode('containerd.events.TaskExit', event?.value ?? Buffer.alloc(0));
      told.set(containerId, [...(told.get(containerId) ?? []), exitStatus]);
    }
  })().catch(() => undefined);
  try {
    await eightAtATime(ids, async (id, index) => {
      await createContainer(suite, { id, chain, args: ['sh', '-c', `exit ${index % 256}`] });
      await tasks.create({ containerId: id });
    });
    const waits = ids.map((containerId) => tasks.wait({ containerId }));
    await Promise.all(ids.map((containerId) => tasks.start({ containerId }, { timeoutMs: 120_000 })));
    const waited = await Promise.all(waits);
    await waitFor('every exit to be told', () => told.size === count, 60_000);
    await eightAtATime(ids, async (id) => {
      await tasks.delete({ containerId: id });
      await removeContainer(suite, id);
    });
    await waitFor('the shims to end', () => shimProcesses(suite.namespace).length === 0);
    return waited.map(({ exitStatus }, index) => {
      const codes = told.get(ids[index] ?? '') ?? [];
      return { waited: exitStatus, told: codes.length === 1 ? codes[0] : undefined };
    });
  } finally {
    stop.abort();
    await reading;
  }
}

async function eightAtATime(ids: readonly string[], work: (id: string, index: number) => Promise<void>): Promise<void> {
  const queue = ids.entries();
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (const [index, id] of queue) await work(id, index);
    }),
  );
}
