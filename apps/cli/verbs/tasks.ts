import { constants } from 'node:os';
import type { Command } from 'commander';
import { isCode } from '#common/errors.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { type Act, advised, type Session } from '../session.ts';
import { parseSignal } from './arguments.ts';

const advice = { not_found: 'see "berth tasks list"' };
/** A process in the kernel's hands may never end; then the caller hears of it. */
const endTimeoutMs = 10_000;

/** `berth tasks …` */
export function taskVerbs(program: Command, act: Act): Command {
  const group = program.command('tasks').alias('task').description('running containers');

  group
    .command('list')
    .alias('ls')
    .description('show tasks')
    .action(() => act(list));

  group
    .command('kill <ids...>')
    .description('send a signal')
    .option('-s, --signal <signal>', 'its name or number', parseSignal, constants.signals.SIGTERM)
    .option('--all', 'to all processes of the task')
    .action((ids: string[], { signal, all = false }: { signal: number; all?: boolean }) =>
      act((session) =>
        session.each('signalled', ids, (id) =>
          advised(session.core.tasks.kill({ containerId: id, signal, all }, session), advice),
        ),
      ),
    );

  group
    .command('remove <ids...>')
    .alias('rm')
    .description('remove ended tasks')
    .option('-f, --force', 'kill those that run')
    .action((ids: string[], { force = false }: { force?: boolean }) =>
      act((session) => session.each('removed', ids, (id) => removeTask(session, id, force))),
    );

  return group;
}

async function list(session: Session): Promise<void> {
  const { tasks } = await session.core.tasks.list({}, session);
  const rows = tasks.map(({ containerId, id, pid, status, exitStatus, exitedAt }) => ({
    id: containerId || id,
    pid,
    status: status.toLowerCase(),
    exitCode: status === 'STOPPED' ? exitStatus : null,
    exitedAt: timeOf(exitedAt),
  }));
  session.list(
    sortedBy(rows, ({ id }) => id),
    [
      { head: 'ID', of: ({ id }) => id },
      { head: 'PID', of: ({ pid }) => String(pid), align: 'right' },
      { head: 'STATUS', of: ({ status }) => status },
      { head: 'EXIT CODE', of: ({ exitCode }) => String(exitCode ?? '-'), align: 'right' },
    ],
  );
}

async function removeTask(session: Session, id: string, force: boolean): Promise<void> {
  if (force) await advised(endTask(session, id), advice);
  await advised(session.core.tasks.delete({ containerId: id }, session), {
    ...advice,
    failed_precondition: 'end it with "berth tasks kill", or use --force',
  });
}

/** Kills all of a task and waits for its end. One that has ended is no error. */
async function endTask({ core, namespace, signal }: Session, id: string): Promise<void> {
  const ended = core.tasks.wait({ containerId: id }, { namespace, signal, timeoutMs: endTimeoutMs });
  const killed = core.tasks
    .kill({ containerId: id, signal: constants.signals.SIGKILL, all: true }, { namespace, signal })
    .catch((error: unknown) => {
      if (!isCode(error, 'not_found', 'failed_precondition')) throw error;
    });
  await Promise.all([ended, killed]);
}
