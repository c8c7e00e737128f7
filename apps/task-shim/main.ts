import { messageOf } from '#common/errors.ts';
import { nameOf } from '#common/native/files.ts';
import { writeAll } from '#common/native/index.ts';
import { readinessFd } from '#common/shim-serve.ts';
import { type CommandLine, parseCommandLine } from './command-line.ts';

/** containerd-shim-berth-v1: one process per container, between a daemon and an OCI runtime. */
try {
  await act(parseCommandLine(process.argv.slice(2)));
} catch (error) {
  writeAll(2, Buffer.from(`${nameOf(process.execPath)}: ${messageOf(error)}\n`));
  process.exit(1);
}

/** Each action loads what it needs: `start` is on the way of every container, and needs little. */
async function act(line: CommandLine): Promise<void> {
  switch (line.action) {
    case 'start':
      return (await import('./bootstrap.ts')).start(line);
    case 'serve':
      return void (await (await import('./serve.ts')).serve(line, readinessFd, { isFork: false }));
    case 'template':
      return (await import('./template.ts')).template();
    case 'delete':
      return (await import('./cleanup.ts')).cleanUp(line);
    case 'info':
      return (await import('./info.ts')).printInfo();
    case 'version':
      return (await import('./info.ts')).printVersion();
  }
}
