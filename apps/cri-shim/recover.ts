import { BerthError } from '#common/errors.ts';
import { forEachBounded } from './bounded.ts';
import { abandonCheckpoints } from './container-checkpoint.ts';
import { attachLog } from './container-start.ts';
import type { CoreRecord, CoreTask } from './core-client/types.ts';
import { podAttachment } from './pod-network.ts';
import type { Runtime } from './runtime.ts';
import { updateContainer, updateSandbox } from './status-update.ts';
import { Container } from './store/container.ts';
import {
  type ContainerMetadata,
  type ContainerStatus,
  decodeRecord,
  extensions,
  kindLabel,
  type SandboxMetadata,
  type SandboxStatus,
} from './store/records.ts';
import { Sandbox } from './store/sandbox.ts';
import { type Orphans, orphans } from './sweep.ts';
import { discardTask } from './task-discard.ts';
import { containerExited, freeSandboxTask, sandboxExited, unseenExit } from './task-exit.ts';
import { now } from './time.ts';

/** Objects that are looked at side by side, and how long each may take. */
const width = 16;
const perObjectMs = 30_000;

/**
 * Rebuilds what this daemon knows from the core's records and tasks, on these assumptions:
 *
 * - A record is written before anything else of a pod exists, and deleted after all else is gone.
 * - A task is freed only after its end was stored. So a started container without a task and without a stored end died
 *   unseen, with the machine or with the core's state.
 * - A pod without a stored start belongs to a RunPodSandbox that a crash cut short: nobody knows its id, it goes.
 * - A container without a stored start, but with a running task, was started a moment before the crash.
 * - A task whose state nobody can tell runs: to take it for gone would end what it runs.
 * - FIFOs and their unread data outlive this daemon, held by the shim.
 *
 * A bad record is logged and left alone; it hinders no other.
 *
 * @returns what crashes left on the host without a record, for `sweep`
 */
export async function recover(rt: Runtime): Promise<Orphans> {
  const records = await rt.core.listRecords(kindLabel);
  const tasks = await rt.core.listTasks();
  const found = await orphans(rt, new Set(records.map(({ id }) => id)));
  const kind = (wanted: string) => records.filter(({ labels }) => labels[kindLabel] === wanted);
  const run = (wanted: string, restore: (rt: Runtime, record: CoreRecord, task?: CoreTask) => Promise<void>) =>
    forEachBounded(kind(wanted), { width, perItemMs: perObjectMs }, async (record) => {
      try {
        await restore(rt, record, tasks.get(record.id) ?? (await unlisted(rt, record.id)));
      } catch (error) {
        rt.log.error({ id: record.id, err: error }, `could not recover a ${wanted}`);
      }
    });
  await run('sandbox', restoreSandbox);
  await run('container', restoreContainer);
  await rt.exec.recover();
  await abandonCheckpoints(rt, tasks);
  rt.log.info({ sandboxes: rt.sandboxes.values().length, containers: rt.containers.values().length }, 'recovered');
  return found;
}

/** The list leaves out tasks whose shims answer late: on a machine that is out of breath, most of them. */
async function unlisted(rt: Runtime, id: string): Promise<CoreTask | undefined> {
  try {
    return await rt.core.task(id);
  } catch (error) {
    rt.log.warn({ id, err: error }, 'nobody can tell the state of a task: it is taken for running until somebody can');
    return { status: 'UNKNOWN', pid: 0, exitCode: 0, exitedAt: 0n };
  }
}

async function restoreSandbox(rt: Runtime, record: CoreRecord, task?: CoreTask): Promise<void> {
  const metadata = decodeRecord<SandboxMetadata>(record.extensions, extensions.sandbox, record.id);
  const status = decodeRecord<SandboxStatus>(record.extensions, extensions.sandboxStatus, record.id);
  if (status.startedAt === undefined) return await removeUnfinished(rt, metadata);
  const sandbox = new Sandbox(metadata, status);
  sandbox.hasTask = task !== undefined;
  rt.sandboxes.add(sandbox);
  rt.sandboxNames.restore(metadata.name, sandbox.id, Number(BigInt(metadata.createdAt) / 1_000_000n));
  if (status.exitedAt !== undefined) return await freeSandboxTask(rt, sandbox);
  switch (task?.status) {
    case 'STOPPED':
      return await sandboxExited(rt, sandbox, task);
    case 'CREATED':
    case undefined:
      await freeSandboxTask(rt, sandbox);
      return await updateSandbox(rt, sandbox, { exitedAt: now() });
    default:
      sandbox.pid = task?.pid ?? 0;
  }
}

async function removeUnfinished(rt: Runtime, sandbox: SandboxMetadata): Promise<void> {
  const { id } = sandbox;
  await using undo = rt.janitor.undo(id);
  undo.addLast('delete the record', () => rt.core.deleteRecord(id));
  undo.add('remove the root file system', () => rt.core.removeSnapshot(id));
  undo.add("remove the pod's files", () => rt.files.remove(id));
  undo.add('remove the network namespace', () => rt.files.removeNetns(id));
  const attachment = podAttachment(sandbox);
  if (attachment !== undefined) undo.add('detach from the network', () => rt.network.detach(attachment));
  undo.add('discard the task', () => discardTask(rt.core, id));
  rt.log.info({ id }, 'taking back a pod that a crash cut short');
}

async function restoreContainer(rt: Runtime, record: CoreRecord, task?: CoreTask): Promise<void> {
  const metadata = decodeRecord<ContainerMetadata>(record.extensions, extensions.container, record.id);
  const status = decodeRecord<ContainerStatus>(record.extensions, extensions.containerStatus, record.id);
  const container = new Container(metadata, status, { process: record.spec().process });
  container.hasTask = task !== undefined;
  rt.containers.add(container);
  rt.containerNames.restore(metadata.name, container.id, Number(BigInt(metadata.createdAt) / 1_000_000n));

  if (status.finishedAt !== undefined) {
    // The end was stored after all output had been taken over: only freeing was left to do.
    await freeTask(rt, container);
    return await dropLog(rt, container);
  }
  if (task?.status === 'CREATED' || (task === undefined && status.startedAt === undefined)) {
    await freeTask(rt, container);
    await dropLog(rt, container);
    if (status.startedAt !== undefined) await containerExited(rt, container, unseenExit());
    return;
  }
  // After a reboot the FIFOs are gone with the tasks.
  if (task !== undefined || rt.stdio.exists(container.id)) await resumeLog(rt, container);
  if (task === undefined) return await containerExited(rt, container, unseenExit());
  if (status.startedAt === undefined) await updateContainer(rt, container, { startedAt: now() });
  if (task.status === 'STOPPED') return await containerExited(rt, container, task);
  container.pid = task.pid;
}

async function freeTask(rt: Runtime, container: Container): Promise<void> {
  if (container.hasTask) await discardTask(rt.core, container.id);
  container.hasTask = false;
}

/** Lets go of a log that nobody writes to any more, if the crash left it. */
async function dropLog(rt: Runtime, container: Container): Promise<void> {
  if (!rt.stdio.exists(container.id)) return;
  await resumeLog(rt, container);
  await rt.logs.detach(container.id);
  await rt.stdio.remove(container.id);
}

/** A log that can't be written must not keep the container from being known. */
async function resumeLog(rt: Runtime, container: Container): Promise<void> {
  const { tty, stdin } = container.metadata.config;
  try {
    await attachLog(rt, container, await rt.stdio.create(container.id, { tty, stdin }));
  } catch (error) {
    rt.log.error({ id: container.id, err: BerthError.from(error) }, 'could not take up the log of a container');
  }
}
