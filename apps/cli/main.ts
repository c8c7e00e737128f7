#!/usr/bin/env node
import { CommanderError } from 'commander';
import { hasErrno } from '#common/node-error.ts';
import { createProgram } from './program.ts';

/** A command line that isn't understood. */
const usageExitCode = 2;

// A reader such as `head` that has seen enough is no failure.
process.stdout.on('error', (error) => process.exit(hasErrno(error, 'EPIPE') ? 0 : 1));

try {
  await createProgram().parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // commander has written what is wrong; its zero is for --help and --version.
  process.exitCode = error.exitCode === 0 ? 0 : usageExitCode;
}
