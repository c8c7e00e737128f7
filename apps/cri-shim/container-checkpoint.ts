import { copyFile, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { CheckpointContainerRequest__Output } from '#proto/runtime/v1/CheckpointContainerRequest.ts';
import { checkedLocation, packArchive } from './checkpoints.ts';
import { describeContainer } from './container-status.ts';
import type { CoreTask } from './core-client/types.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';

/**
 * CheckpointContainer: processes and files of a running container, as an archive that checkpointctl reads. The container
 * stands still meanwhile and goes on afterwards: this is for looking at it, and nothing here starts one from it.
 *
 * @throws failed_precondition when it doesn't run, or where there is no criu; deadline_exceeded; what criu says
 */
export async function checkpointContainer(
  rt: Runtime,
  { containerId, location, timeout }: CheckpointContainerRequest__Output,
): Promise<void> {
  const archive = checkedLocation(location);
  const container = rt.containers.get(containerId);
  const { id } = container;
  if (container.state !== 'CONTAINER_RUNNING') {
    throw new BerthError(
      'failed_precondition',
      `container ${id} can't be checkpointed: it is in state ${container.state}`,
    );
  }
  await using undo = rt.janitor.undo(id);
  const folder = await rt.checkpoints.create(id);
  undo.add('remove what a checkpoint was made of', () => rt.checkpoints.remove(id));
  await save(rt, id, folder, Number(timeout) * 1_000);
  await describe(rt, container, folder);
  await packArchive(folder, archive);
}

/** Lets containers go on whose checkpoint a crash cut short. */
export async function abandonCheckpoints(rt: Runtime, tasks: ReadonlyMap<string, CoreTask>): Promise<void> {
  for (const id of await rt.checkpoints.ids()) {
    try {
      if (tasks.get(id)?.status === 'PAUSED') await rt.core.resumeTask(id);
      await rt.checkpoints.remove(id);
    } catch (error) {
      rt.log.warn({ id, err: error }, 'could not undo a checkpoint of a crash');
    }
  }
}

/** What changes while the container runs: its processes, and its files beside its image's. */
async function save(rt: Runtime, id: string, folder: string, timeoutMs: number): Promise<void> {
  await using undo = rt.janitor.undo(id);
  undo.add('let the container go on', () => rt.core.resumeTask(id));
  await rt.core.pauseTask(id);
  const images = join(folder, 'checkpoint');
  await mkdir(images, { mode: 0o700 });
  await rt.core.checkpointTask(id, { imagePath: images, workPath: folder }, timeoutMs);
  await using file = await open(join(folder, 'rootfs-diff.tar'), 'wx', 0o600);
  await rt.rootfsDiff.write(id, file);
}

/** The files of the archive that say what it is of, by the names that checkpointctl knows. */
async function describe(rt: Runtime, container: Container, folder: string): Promise<void> {
  const { id, metadata } = container;
  const { config, imageName, imageRef, createdAt } = metadata;
  const handler = rt.sandboxes.find(metadata.sandboxId)?.metadata.runtimeHandler ?? '';
  const write = (name: string, value: unknown) => {
    return writeFile(join(folder, name), JSON.stringify(value), { mode: 0o600, flag: 'wx' });
  };
  const never = '0001-01-01T00:00:00Z';
  await write('config.dump', {
    id,
    name: config.metadata?.name ?? '',
    rootfsImage: imageName,
    rootfsImageRef: imageRef,
    rootfsImageName: imageName,
    runtime: rt.handlers.runtime(handler, 'cgroupfs').name,
    createdTime: new Date(Number(BigInt(createdAt) / 1_000_000n)).toISOString(),
    checkpointedTime: new Date().toISOString(),
    restoredTime: never,
    restored: false,
  });
  await write('spec.dump', await rt.core.spec(id));
  await write('status.dump', describeContainer(container));
  if (metadata.logPath !== '') await copyFile(metadata.logPath, join(folder, 'container.log'));
}
