import { Command, CommanderError } from 'commander';
import { messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { defaultPaths } from '#common/paths.ts';
import { version } from '#common/version.ts';
import { demo } from './demo/demo.ts';
import { explain, type GlobalOptions, Session } from './session.ts';
import { onStopSignal } from './stop-signal.ts';
import { type UpOptions, up } from './up/up.ts';
import { containerVerbs } from './verbs/containers.ts';
import { contentVerbs } from './verbs/content.ts';
import { eventVerb } from './verbs/events.ts';
import { gcVerb } from './verbs/gc.ts';
import { imageVerbs } from './verbs/images.ts';
import { leaseVerbs } from './verbs/leases.ts';
import { namespaceVerbs } from './verbs/namespaces.ts';
import { snapshotVerbs } from './verbs/snapshots.ts';
import { taskVerbs } from './verbs/tasks.ts';

/** For a command line that isn't understood. */
const usageExitCode = 2;

/** Does what the command line says. */
export async function runProgram(): Promise<void> {
  // A reader such as `head` that has seen enough is no failure.
  process.stdout.on('error', (error) => process.exit(hasErrno(error, 'EPIPE') ? 0 : 1));
  try {
    await createProgram().parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // commander has written what is wrong; its zero is for --help and --version.
    process.exitCode = error.exitCode === 0 ? 0 : usageExitCode;
  }
}

/** Parsing throws a CommanderError where the command line isn't understood. */
function createProgram(): Command {
  const program = new Command('berth')
    .description("Operator's tool of the Berth container runtime")
    .version(version)
    // Before the first command, which inherits it.
    .exitOverride()
    .option('-a, --address <socket>', 'the socket of berthd', defaultPaths.coreSocket)
    .option('-n, --namespace <name>', 'the namespace to work in', 'default')
    .option('--json', 'answer in JSON, with exact values');

  const act = (work: (session: Session) => Promise<void>) =>
    run(async (signal) => {
      const options = program.opts<GlobalOptions>();
      using session = new Session(options, signal);
      try {
        await work(session);
      } catch (error) {
        throw await explain(error, options.address);
      }
    });

  program
    .command('up')
    .description('start both daemons and stay in the foreground; SIGTERM stops them, containers go on')
    .option(
      '--dir <dir>',
      'keep sockets, logs, root and state below this directory (default: the places of the system)',
    )
    .option('--certs-dir <dir>', 'certs.d directory with a hosts.toml per registry (with --dir)')
    .option('--cni-conf-dir <dir>', 'directory with the CNI network configuration (with --dir)')
    .option('--cni-bin-dir <dir>', 'directory with the CNI plugins (with --dir)')
    .action((options: UpOptions) => run((signal) => up(options, signal)));
  program
    .command('demo')
    .description('run a pod from start to end in a private directory, and clean up')
    .action(() => run(demo));
  namespaceVerbs(program, act);
  imageVerbs(program, act);
  contentVerbs(program, act);
  snapshotVerbs(program, act);
  containerVerbs(program, act);
  taskVerbs(program, act);
  leaseVerbs(program, act);
  eventVerb(program, act);
  gcVerb(program, act);
  return program;
}

/** Runs a command until it ends or is told to stop; a failure is one message on stderr and an exit code. */
async function run(command: (signal: AbortSignal) => Promise<void>): Promise<void> {
  using stop = onStopSignal();
  try {
    await command(stop.signal);
  } catch (error) {
    process.stderr.write(`berth: ${messageOf(error)}\n`);
    process.exitCode = stop.exitCode ?? 1;
  }
}
