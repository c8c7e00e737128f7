import type { Command } from 'commander';
import { BerthError } from '#common/errors.ts';
import type { Container__Output } from '#proto/containerd/services/containers/v1/Container.ts';
import type { Any__Output } from '#proto/google/protobuf/Any.ts';
import { ifFound } from '../if-found.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatAge } from '../output/format.ts';
import { type Act, advised, type Session } from '../session.ts';

const advice = { not_found: 'see "berth containers list"' };

/** `berth containers …` */
export function containerVerbs(program: Command, act: Act): void {
  const group = program.command('containers').alias('container').description('records of containers');

  group
    .command('list [filters...]')
    .alias('ls')
    .description("show containers; filters in containerd's syntax")
    .action((filters: string[]) => act((session) => list(session, filters)));

  group
    .command('info <id>')
    .description('show all of a record, with its runtime spec, as JSON')
    .action((id: string) =>
      act(async (session) => {
        const facts = JSON.stringify(await containerFacts(session, id), undefined, 2);
        process.stdout.write(`${facts}\n`);
      }),
    );

  group
    .command('remove <ids...>')
    .alias('rm')
    .description('remove containers and their writable snapshots')
    .option('--keep-snapshot', 'leave the snapshots')
    .action((ids: string[], { keepSnapshot = false }: { keepSnapshot?: boolean }) =>
      act((session) => session.each('removed', ids, (id) => removeContainer(session, id, { keepSnapshot }))),
    );
}

/** Removes a container without a task. @throws failed_precondition while it has one; not_found */
export async function removeContainer(
  session: Session,
  id: string,
  { keepSnapshot = false }: { readonly keepSnapshot?: boolean } = {},
): Promise<void> {
  const { core } = session;
  const { snapshotter, snapshotKey } = await recordOf(session, id);
  const task = await ifFound(core.tasks.get({ containerId: id }, session));
  if (task !== undefined) {
    const state = task.process?.status.toLowerCase() ?? 'unknown';
    const fix = `end it with "berth tasks remove --force ${id}"`;
    throw new BerthError('failed_precondition', `container "${id}" has a task, which is ${state}; ${fix}`);
  }
  await core.containers.delete({ id }, session);
  if (!keepSnapshot && snapshotKey !== '') {
    await ifFound(core.snapshots.remove({ snapshotter, key: snapshotKey }, session));
  }
}

/** @throws not_found */
export async function recordOf(session: Session, id: string): Promise<Container__Output> {
  const { container } = await advised(session.core.containers.get({ id }, session), advice);
  if (container === null) throw new BerthError('internal', `container "${id}": the daemon answers without a record`);
  return container;
}

async function list(session: Session, filters: readonly string[]): Promise<void> {
  const rows = [];
  for await (const { container } of session.core.containers.listStream({ filters: [...filters] }, session)) {
    if (container === null) continue;
    const { id, image, runtime, createdAt, labels } = container;
    rows.push({ id, image, runtime: runtime?.name ?? '', createdAt: timeOf(createdAt), labels });
  }
  session.list(
    sortedBy(rows, ({ id }) => id),
    [
      { head: 'ID', of: ({ id }) => id },
      { head: 'IMAGE', of: ({ image }) => image || '-' },
      { head: 'RUNTIME', of: ({ runtime }) => runtime || '-' },
      { head: 'AGE', of: ({ createdAt }) => formatAge(createdAt), align: 'right' },
    ],
  );
}

async function containerFacts(session: Session, id: string): Promise<object> {
  const { createdAt, updatedAt, spec, extensions, runtime, ...rest } = await recordOf(session, id);
  return {
    ...rest,
    runtime: { name: runtime?.name ?? '', options: anyFacts(runtime?.options ?? null) },
    createdAt: timeOf(createdAt),
    updatedAt: timeOf(updatedAt),
    extensions: Object.fromEntries(Object.entries(extensions).map(([name, any]) => [name, anyFacts(any)])),
    spec: anyFacts(spec),
  };
}

/** An Any for eyes: its value when it holds JSON, else base64. */
function anyFacts(any: Any__Output | null): object | null {
  if (any === null) return null;
  const type = any.type_url;
  try {
    return { type, value: JSON.parse(any.value.toString()) };
  } catch {
    return { type, base64: any.value.toString('base64') };
  }
}
