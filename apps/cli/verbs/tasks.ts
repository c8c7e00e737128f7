import { constants } from 'node:os';
import type { Command } from 'commander';
import { isCode } from '#common/errors.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { type Act, advised, type Session } from '../session.ts';
import { type AttachOptions, attachToTask } from '../tasks/attach.ts';
import { type ExecOptions, execInTask } from '../tasks/exec.ts';
import { showLogs } from '../tasks/logs.ts';
import { showMetrics } from '../tasks/metrics.ts';
import { type RunOptions, runContainer } from '../tasks/run.ts';
import { detachKeysOption, labelOption, parseSignal, parseUserOption, snapshotterOption } from './arguments.ts';

const advice = { not_found: 'see "berth tasks list"' };
/** A process in the kernel's hands may never end; then the caller hears of it. */
const endTimeoutMs = 10_000;

/** `berth tasks …` */
export function taskVerbs(program: Command, act: Act): void {
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

  group
    .command('pause <ids...>')
    .description('stop tasks where they are')
    .action((ids: string[]) =>
      act((session) =>
        session.each('paused', ids, (id) => advised(session.core.tasks.pause({ containerId: id }, session), advice)),
      ),
    );

  group
    .command('resume <ids...>')
    .description('let paused tasks go on')
    .action((ids: string[]) =>
      act((session) =>
        session.each('resumed', ids, (id) => advised(session.core.tasks.resume({ containerId: id }, session), advice)),
      ),
    );

  group
    .command('metrics [ids...]')
    .description('show what running tasks use')
    .action((ids: string[]) => act((session) => showMetrics(session, ids)));

  group
    .command('attach <id>')
    .description('join a running task; the detach keys, or Ctrl-C without a terminal, leave it running')
    .addOption(detachKeysOption())
    .action((id: string, options: AttachOptions) => act((session) => attachToTask(session, id, options)));

  group
    .command('logs <id>')
    .description("show a task's log file")
    .option('-f, --follow', 'go on until the task ends')
    .action((id: string, { follow = false }: { follow?: boolean }) => act((session) => showLogs(session, id, follow)));

  withProcessOptions(group.command('run <image> <id> [args...]'))
    .description('make a container of an image and run it; put -- before a command with flags')
    .option('-d, --detach', 'leave it running, without its output')
    .option('--log <file>', 'with --detach: append its output to a file')
    .addOption(detachKeysOption())
    .option('--rm', 'remove the container when it has ended')
    .option('--host-network', "use the host's network instead of none")
    .option('--runtime <name>', 'the runtime', 'io.containerd.runc.v2')
    .addOption(snapshotterOption())
    .addOption(labelOption())
    .action((image: string, id: string, args: string[], options: RunOptions) =>
      act((session) => runContainer(session, image, id, args, options)),
    );

  withProcessOptions(group.command('exec <id> <args...>'))
    .description('run a further process in a container; put -- before a command with flags')
    .action((id: string, args: string[], options: ExecOptions) =>
      act((session) => execInTask(session, id, args, options)),
    );
}

function withProcessOptions(command: Command): Command {
  const collect = (entry: string, before: readonly string[]) => [...before, entry];
  return command
    .option('-i, --interactive', 'hand standard input through')
    .option('-t, --tty', 'give it a terminal, and hand ours through')
    .option('-e, --env <key=value>', 'a variable; can be given several times', collect, [])
    .option('--cwd <dir>', 'its working directory')
    .option('-u, --user <uid[:gid]>', 'its user', parseUserOption);
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
