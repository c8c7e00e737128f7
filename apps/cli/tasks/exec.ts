import { randomUUID } from 'node:crypto';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { packJson, typeUrls, unpackJson } from '#common/typeurl.ts';
import { ifFound } from '../if-found.ts';
import { advised, type Session } from '../session.ts';
import type { UserChoice } from '../verbs/arguments.ts';
import { recordOf } from '../verbs/containers.ts';
import { runForeground } from './foreground.ts';
import { ProcessIo } from './process-io.ts';
import { execProcess } from './spec.ts';

export interface ExecOptions {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env: readonly string[];
  readonly cwd?: string;
  readonly user?: UserChoice;
}

/** `berth tasks exec`: runs a further process in a container; our exit code is its. */
export async function execInTask(
  session: Session,
  containerId: string,
  args: readonly string[],
  { interactive = false, tty = false, ...choice }: ExecOptions,
): Promise<void> {
  const { core, namespace } = session;
  const { spec } = await recordOf(session, containerId);
  const processSpec = execProcess(unpackJson<RuntimeSpec>(spec, `spec of container "${containerId}"`), args, {
    ...choice,
    tty,
  });
  const name = { containerId, execId: `exec-${randomUUID()}` };
  await using io = await ProcessIo.open({ interactive, tty });
  await advised(core.tasks.exec({ ...name, ...io.paths, spec: packJson(typeUrls.process, processSpec) }, session), {
    not_found: 'it has no running task: see "berth tasks list"',
  });
  try {
    process.exitCode = Number(await runForeground(session, name, io));
  } finally {
    await ifFound(core.tasks.deleteProcess(name, { namespace }));
  }
  session.signal.throwIfAborted();
}
