import { messageOf } from '#common/errors.ts';
import { writeAll } from '#common/native/index.ts';
import { start } from './bootstrap.ts';
import { cleanUp } from './cleanup.ts';
import { parseCommandLine } from './command-line.ts';
import { nameOf } from './files.ts';
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
  writeAll(2, Buffer.from(`${nameOf(process.execPath)}: ${messageOf(error)}\n`));
  process.exit(1);
}
