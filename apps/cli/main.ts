#!/usr/bin/env node
import { Command } from 'commander';
import { messageOf } from '#common/errors.ts';
import { version } from '#common/version.ts';
import { demo } from './demo/demo.ts';
import { onStopSignal } from './stop-signal.ts';
import { type UpOptions, up } from './up/up.ts';

const program = new Command('berth').description("Operator's tool of the Berth container runtime").version(version);

program
  .command('up')
  .description('start both daemons and stay in the foreground; SIGTERM stops them, containers go on')
  .option('--dir <dir>', 'keep sockets, logs, root and state below this directory (default: the places of the system)')
  .option('--certs-dir <dir>', 'certs.d directory with a hosts.toml per registry (with --dir)')
  .option('--cni-conf-dir <dir>', 'directory with the CNI network configuration (with --dir)')
  .option('--cni-bin-dir <dir>', 'directory with the CNI plugins (with --dir)')
  .action((options: UpOptions) => run((signal) => up(options, signal)));

program
  .command('demo')
  .description('run a pod from start to end in a private directory, and clean up')
  .action(() => run(demo));

await program.parseAsync();

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
