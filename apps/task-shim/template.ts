import { messageOf } from '#common/errors.ts';
import { forkOnRequest, getpid, setCommandLine, writeAll } from '#common/native/index.ts';
import { parseServeRequest, requestFd } from '#common/shim-serve.ts';
import { parseCommandLine } from './command-line.ts';
import { rehearse } from './rehearsal.ts';
import { serve } from './serve.ts';

/**
 * A shim that has come up and serves nobody: berthd has it fork, and each fork serves a container. What a runtime needs
 * to come up with is done once, and the memory for it is there once. Ends with the daemon that has started it.
 */
export async function template(): Promise<void> {
  const complaint = await prepare().then(() => undefined, messageOf);
  process.chdir('/');
  const { fd, request } = forkOnRequest(requestFd);
  writeAll(fd, Buffer.from(`${getpid()}\n`));
  const { argv, cwd, env } = parseServeRequest(request);
  setCommandLine(argv);
  process.chdir(cwd);
  Object.assign(process.env, env);
  const log = await serve(parseCommandLine(argv.slice(1)), fd, { isFork: true });
  if (complaint !== undefined) log.warn('the rehearsal failed: shims start slower', complaint);
}

/**
 * The second life finds what the first one has made for it, and leaves the memory as every further one would. Its garbage
 * stays: a fork goes on behind it, in pages of its own that it fills. Were it collected, the fork would write into what
 * has become free all over the pages that are shared: 0.1 MiB.
 */
async function prepare(): Promise<void> {
  await rehearse();
  await rehearse();
}
