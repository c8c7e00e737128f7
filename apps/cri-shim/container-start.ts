import { BerthError, messageOf } from '#common/errors.ts';
import { allSettled } from './all-settled.ts';
import { readySandbox } from './container-create.ts';
import type { Runtime } from './runtime.ts';
import { updateContainer } from './status-update.ts';
import type { Container } from './store/container.ts';
import { discardTask } from './task-discard.ts';
import { now } from './time.ts';

/** What ContainerStatus says of a container that couldn't be started; the numbers are containerd's. */
const startFailure = { exitCode: 128, reason: 'StartError' };

/** StartContainer. A container starts once; one that fails to has exited, and its status says why. */
export async function startContainer(rt: Runtime, id: string): Promise<void> {
  const container = rt.containers.get(id);
  await rt.queue.run(container.id, () => start(rt, container));
}

async function start(rt: Runtime, container: Container): Promise<void> {
  const { id } = container;
  if (!rt.containers.has(id)) throw new BerthError('not_found', `container "${id}" not found`);
  if (container.state !== 'CONTAINER_CREATED') {
    throw new BerthError('failed_precondition', `container ${id} can't be started: it is in state ${container.state}`);
  }
  const sandbox = readySandbox(rt, container.metadata.sandboxId);
  const spec = () => rt.core.spec(id);
  try {
    await rt.nri.containerEvent('StartContainer', sandbox, container, spec);
    await run(rt, container);
  } catch (error) {
    const message = messageOf(error);
    await updateContainer(rt, container, { finishedAt: now(), ...startFailure, message }).catch((cause: unknown) => {
      rt.log.warn({ id, err: cause }, 'could not store that the container failed to start');
      container.become({ ...container.status, finishedAt: now(), ...startFailure, message });
    });
    rt.podEvents.container('CONTAINER_STOPPED_EVENT', container);
    throw error;
  }
  await rt.nri.told('PostStartContainer', rt.nri.containerEvent('PostStartContainer', sandbox, container, spec));
}

async function run(rt: Runtime, container: Container): Promise<void> {
  const { id, metadata } = container;
  const { tty, stdin } = metadata.config;
  await using undo = rt.janitor.undo(id);
  undo.add('remove the FIFOs', () => rt.stdio.remove(id));
  const stdio = await rt.stdio.create(id, { tty, stdin });
  undo.add('detach the log', () => rt.logs.detach(id));
  const rootfs = container.rootfs ?? (await rt.core.snapshotMounts(id));
  undo.add('discard the task', async () => {
    await discardTask(rt.core, id);
    container.hasTask = false;
  });
  container.hasTask = true;
  // Nothing is written before the start: until then the log has time to get ready.
  const [, pid] = await allSettled([
    attachLog(rt, container, stdio),
    rt.core.createTask({ id, rootfs, mountLabel: metadata.selinux?.mount, terminal: tty, ...stdio }),
  ]);
  container.pid = pid;
  // The start is stored beside it, not after it: exits are handled behind us in the queue, never before.
  await allSettled([rt.core.startTask(id), updateContainer(rt, container, { startedAt: now() })]);
  undo.keep();
  rt.podEvents.container('CONTAINER_STARTED_EVENT', container);
}

/** Lets the container's output go to its log; without a log path it is thrown away. */
export async function attachLog(
  rt: Runtime,
  container: Container,
  stdio: { readonly stdout: string; readonly stderr?: string },
): Promise<void> {
  const { id, metadata } = container;
  const logDirectory = rt.sandboxes.find(metadata.sandboxId)?.metadata.config.logDirectory ?? '';
  await rt.logs.attach({
    containerId: id,
    stdout: stdio.stdout,
    tty: metadata.config.tty,
    ...(stdio.stderr === undefined ? {} : { stderr: stdio.stderr }),
    ...(metadata.logPath === '' ? {} : { logPath: metadata.logPath, logDirectory }),
  });
}
