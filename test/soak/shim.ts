/**
 * `npm run soak -- shim`: two hundred containers that end at once, each with a code of its own, and five hundred
 * commands in one container, after which the shim is as large as before.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { startBerthd } from '../support/berthd.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { killCgroups, removeCgroups } from '../support/cgroups.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, processOf, removeContainer } from '../support/container.ts';
import { exitStorm, type StormBed } from '../support/exit-storm.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { shimProcesses } from '../support/shim-processes.ts';
import type { SoakOptions } from './main.ts';

const containers = 200;
const commands = 500;
/** As many run first, so that what is made once is there. */
const warmUp = 50;
/** How much larger the shim may be at the end, in KiB: what its heap keeps is not the same each time. */
const tolerance = 512;

export async function shimSoak({ tell }: SoakOptions): Promise<void> {
  const dir = scratchDir();
  const namespace = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
  try {
    const berthd = await startBerthd({ dir, logLevel: 'warn' });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => berthd.daemon.stop());
    const clients = stack.use(berthd.clients(namespace));
    await clients.namespaces.create({ namespace: { name: namespace } });
    const chain = await importImage(clients, busyboxImage(), 'docker.io/library/busybox:latest');
    tell(`${containers} containers that end at once`);
    await storm({ clients, namespace }, chain);
    tell(`${commands} commands in one container`);
    await manyCommands({ clients, namespace }, chain, tell);
  } finally {
    await killCgroups(namespace);
    removeScratch(dir);
    removeCgroups(namespace);
  }
}

async function storm(bed: StormBed, chain: string): Promise<void> {
  const exits = await exitStorm(bed, chain, containers);
  const wrong = exits.flatMap(({ waited, told }, index) =>
    waited === index && told === index ? [] : [`container ${index}: ${waited} by Wait, ${told} by its event`],
  );
  if (wrong.length > 0) throw new Error(`wrong exits:\n${wrong.join('\n')}`);
}

async function manyCommands(bed: StormBed, chain: string, tell: SoakOptions['tell']): Promise<void> {
  const { tasks } = bed.clients;
  const containerId = 'host';
  await createContainer(bed, { id: containerId, chain, args: ['sleep', '100000'] });
  await tasks.create({ containerId });
  await tasks.start({ containerId });
  const [shim] = shimProcesses(bed.namespace);
  if (shim === undefined) throw new Error('the container has no shim');
  const spec = packJson(typeUrls.process, processOf(['true']));
  const run = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const process = { containerId, execId: `command-${n}` };
      await tasks.exec({ ...process, spec });
      const ended = tasks.wait(process);
      await tasks.start(process);
      const { exitStatus } = await ended;
      if (exitStatus !== 0) throw new Error(`command ${n} of ${count}: exit code ${exitStatus}`);
      await tasks.deleteProcess(process);
    }
    // Memory is given back 15 s after the last call.
    await sleep(18_000);
  };
  await run(warmUp);
  const before = sizeOf(shim.pid);
  await run(commands);
  const after = sizeOf(shim.pid);
  tell(`${before.kib} KiB and ${before.fds} descriptors before, ${after.kib} and ${after.fds} after`);
  if (after.fds > before.fds) throw new Error('the shim has more descriptors than before');
  if (after.kib > before.kib + tolerance) throw new Error(`the shim is larger by more than ${tolerance} KiB`);
  await tasks.kill({ containerId, signal: 9 });
  await tasks.wait({ containerId });
  await tasks.delete({ containerId });
  await removeContainer(bed, containerId);
}

/** Memory that a process has written to, and its number of descriptors. What it has of files is others' as well, or not. */
function sizeOf(pid: number): { readonly kib: number; readonly fds: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = Number(/^Private_Dirty: +(\d+) kB$/m.exec(text)?.[1]);
  return { kib, fds: readdirSync(`/proc/${pid}/fd`).length };
}
