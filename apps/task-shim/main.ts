import { writeSync } from 'node:fs';
import { basename } from 'node:path';
import { messageOf } from '#common/errors.ts';
import { start } from './bootstrap.ts';
import { cleanUp } from './cleanup.ts';
import { parseCommandLine } from './command-line.ts';
import { printInfo, printVersion } from './info.ts';
import { serve } from './serve.ts';

/** containerd-shim-berth-v1: one process per container, between a daemon and an OCI runtime. */
try {
  const line = parseCommandLine(process.argv.slice(2));
  if (line.action === 'version') printVersion();
  else if (line.action === 'info') printInfo();
  else if (line.action === 'start') start(line);
  else if (line.action === 'delete') await cleanUp(line);
  else await serve(line);
} catch (error) {
  writeSync(2, `${basename(process.execPath)}: ${messageOf(error)}\n`);
  process.exit(1);
}
