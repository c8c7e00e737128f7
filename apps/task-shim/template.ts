import { messageOf } from '#common/errors.ts';
import {
  close,
  fork,
  forkOnRequest,
  getpid,
  memoryOfFork,
  pipe,
  readAll,
  setCommandLine,
  writeAll,
} from '#common/native/index.ts';
import { parseServeRequest, requestFd } from '#common/shim-serve.ts';
import { parseCommandLine } from './command-line.ts';
import { rehearse } from './rehearsal.ts';
import { serve } from './serve.ts';

/**
 * A shim that has come up and serves nobody: berthd has it fork, and each fork serves a container. What a runtime needs
 * to come up with is done once, and the memory for it is there once. Ends with the daemon that has started it.
 */
export async function template(): Promise<void> {
  const prepared = await prepare().catch((error) => ({ memory: Buffer.alloc(0), complaint: messageOf(error) }));
  process.chdir('/');
  const { fd, request } = forkOnRequest(requestFd, prepared.memory);
  writeAll(fd, Buffer.from(`${getpid()}\n`));
  const { argv, cwd, env } = parseServeRequest(request);
  setCommandLine(argv);
  process.chdir(cwd);
  Object.assign(process.env, env);
  const log = await serve(parseCommandLine(argv.slice(1)), fd, { isFork: true });
  if (prepared.complaint !== undefined) log.warn('the rehearsal failed: shims start slower', prepared.complaint);
}

interface Prepared {
  /** What a fork uses until its container is created. */
  readonly memory: Buffer;
  readonly complaint?: string;
}

/**
 * The second life finds what the first one has made for it, and leaves the memory as every further one would. Its garbage
 * stays: a fork goes on behind it, in pages of its own that it fills. Were it collected, the fork would write into what
 * has become free all over the pages that are shared: 0.1 MiB.
 */
async function prepare(): Promise<Prepared> {
  await rehearse();
  await rehearse();
  return { memory: await memoryOfLife() };
}

/** A third life, in a fork: which memory that uses, only a fork can tell. @throws when it has come to nothing */
async function memoryOfLife(): Promise<Buffer> {
  const [readEnd, writeEnd] = pipe(0);
  try {
    try {
      if (fork() === 0) await rehearse(() => writeAll(writeEnd, memoryOfFork())).finally(() => process.exit(0));
    } finally {
      close(writeEnd);
    }
    const memory = readAll(readEnd);
    if (memory.length === 0) throw new Error('a fork has not told of its memory');
    return memory;
  } finally {
    close(readEnd);
  }
}
