import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BerthError } from '#common/errors.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { ifFound } from '../if-found.ts';
import { chainOf, configOf, findImage, manifestOf } from '../images/image-content.ts';
import { advised, type Session } from '../session.ts';
import type { UserChoice } from '../verbs/arguments.ts';
import { runForeground } from './foreground.ts';
import { type IoPaths, noIo, ProcessIo } from './process-io.ts';
import { specOf } from './spec.ts';

export interface RunOptions {
  readonly snapshotter: string;
  readonly runtime: string;
  readonly detach?: true;
  /** Where the output of a detached one goes; nowhere without. */
  readonly log?: string;
  readonly detachKeys: Buffer;
  readonly rm?: true;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly hostNetwork?: true;
  readonly env: readonly string[];
  readonly cwd?: string;
  readonly user?: UserChoice;
  readonly label: Readonly<Record<string, string>>;
}

/** For undoing, which goes on after this command has been told to stop. */
const undoTimeoutMs = 30_000;
const leaseMs = 3_600_000;

/** `berth tasks run`: makes a container of an image and runs it; our exit code is its. */
export async function runContainer(
  session: Session,
  reference: string,
  id: string,
  args: readonly string[],
  options: RunOptions,
): Promise<void> {
  const { interactive = false, tty = false, detach = false } = options;
  if (detach && (interactive || tty || options.rm)) {
    throw new BerthError('invalid_argument', '--detach goes with none of --interactive, --tty and --rm');
  }
  if (options.log !== undefined && !detach) throw new BerthError('invalid_argument', '--log goes with --detach only');
  const { core, namespace } = session;
  const undo = { namespace, timeoutMs: undoTimeoutMs };
  await using made = new AsyncDisposableStack();
  await using io = detach ? undefined : await ProcessIo.open({ interactive, tty });
  await createContainer(session, reference, id, args, options, made);
  const pid = await createTask(session, id, options.snapshotter, io?.paths ?? logIo(options.log));
  made.defer(async () => {
    await ifFound(core.tasks.kill({ containerId: id, signal: 9, all: true }, undo)).catch(() => undefined);
    await ifFound(core.tasks.wait({ containerId: id }, undo));
    await ifFound(core.tasks.delete({ containerId: id }, undo));
  });
  if (io === undefined) {
    await core.tasks.start({ containerId: id }, session);
    made.move();
    session.print(() => `started ${id} as process ${pid}`, { started: id, pid });
    return;
  }
  const ended = await runForeground(session, { containerId: id, execId: '' }, io, options.detachKeys);
  if (ended === 'detached') {
    made.move();
    const back = `"berth tasks attach ${id}" comes back to it`;
    session.print(() => `detached from ${id}; ${back}`, { detached: id });
    return;
  }
  process.exitCode = ended;
  if (!options.rm) {
    await core.tasks.delete({ containerId: id }, undo);
    made.move();
  }
  session.signal.throwIfAborted();
}

/** Both outputs in one file, which the shim makes. */
function logIo(file: string | undefined): IoPaths {
  if (file === undefined) return noIo;
  const uri = pathToFileURL(resolve(file)).href;
  return { ...noIo, stdout: uri, stderr: uri };
}

/** Snapshot and record; `made` removes them again. */
async function createContainer(
  session: Session,
  reference: string,
  id: string,
  args: readonly string[],
  { snapshotter, runtime, label, ...choice }: RunOptions,
  made: AsyncDisposableStack,
): Promise<void> {
  const { core, namespace } = session;
  const image = await findImage(session, reference);
  const { manifest } = await manifestOf(session, image);
  const config = await configOf(session, manifest);
  const { tty = false, hostNetwork = false } = choice;
  const spec: RuntimeSpec = specOf(config, args, { ...choice, tty, hostNetwork, cgroupsPath: `/${namespace}/${id}` });

  const undo = { namespace, timeoutMs: undoTimeoutMs };
  // Until the record names the snapshot, only the lease keeps it.
  const { lease } = await core.leases.create(
    {
      id: `berth-run-${randomUUID()}`,
      labels: { 'containerd.io/gc.expire': new Date(Date.now() + leaseMs).toISOString() },
    },
    session,
  );
  try {
    const { signal } = session;
    const request = { snapshotter, key: id, parent: chainOf(config) };
    await advised(core.snapshots.prepare(request, { namespace, signal, lease: lease?.id }), {
      not_found: `the image is not unpacked: "berth images pull ${image.name}"`,
      already_exists: 'take another id, or "berth snapshots remove" it',
    });
    made.defer(async () => void (await ifFound(core.snapshots.remove({ snapshotter, key: id }, undo))));
    const container = {
      ...{ id, image: image.name, labels: { ...label }, runtime: { name: runtime } },
      ...{ snapshotter, snapshotKey: id, spec: packJson(typeUrls.spec, spec) },
    };
    await advised(core.containers.create({ container }, session), {
      already_exists: `take another id, or "berth containers remove ${id}"`,
    });
    made.defer(async () => void (await ifFound(core.containers.delete({ id }, undo))));
  } finally {
    await core.leases.delete({ id: lease?.id ?? '' }, undo);
  }
}

async function createTask(session: Session, id: string, snapshotter: string, io: IoPaths): Promise<number> {
  const { core } = session;
  const { mounts } = await core.snapshots.mounts({ snapshotter, key: id }, session);
  const { pid } = await core.tasks.create({ containerId: id, rootfs: mounts, ...io }, session);
  return pid;
}
