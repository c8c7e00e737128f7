/**
 * A shim with the sandbox API, whose sandboxes and tasks are pretence. Annotations make it fail: `fail=create`,
 * `fail=start`. Only its server loads what it takes to speak ttrpc: the commands are to be quick.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';

const args = process.argv.slice(2);
const id = args[args.indexOf('-id') + 1] ?? '';
const socket = join(dirname(process.env.GRPC_ADDRESS ?? ''), `${id}.sock`);

switch (args.at(-1)) {
  case 'start': {
    const serving = [...process.execArgv, import.meta.filename, ...args.slice(0, -1), 'serve'];
    spawn(process.execPath, serving, { argv0: process.argv0, detached: true, stdio: 'ignore' }).unref();
    while (!(await listens())) await new Promise((resolve) => setTimeout(resolve, 10));
    process.stdout.write(JSON.stringify({ version: 3, address: `unix://${socket}`, protocol: 'ttrpc' }));
    break;
  }
  case 'delete':
    // Nothing on stdout is a DeleteResponse too.
    rmSync(socket, { force: true });
    break;
  default: {
    const { serve } = await import('./sandbox-shim-server.ts');
    await serve(id, socket);
  }
}

function listens(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}
