import { type FileHandle, open } from 'node:fs/promises';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode } from '#common/errors.ts';
import * as native from '#common/native/index.ts';
import { write } from '../output/write.ts';
import type { Session } from '../session.ts';
import { streamKind, streamPath, taskOf } from './attach.ts';

/** Between two looks at a file that grows. */
const pollMs = 200;
const pieceBytes = 256 * 1024;

/**
 * `berth tasks logs`: what a task has written into its log file; with `follow` also what comes, until it ends. Where the
 * output goes into a FIFO there is nothing to look back at.
 */
export async function showLogs(session: Session, id: string, follow: boolean): Promise<void> {
  const { stdout, stderr } = await taskOf(session, id);
  const streams = [...new Set([stdout, stderr])].filter((uri) => uri !== '');
  if (streams.length === 0) {
    throw new BerthError('failed_precondition', `task "${id}" has no output: run it with --log to have it in a file`);
  }
  const over = new AbortController();
  const signal = AbortSignal.any([session.signal, over.signal]);
  try {
    const shown = streams.map((uri) => show(id, uri, uri === stderr && uri !== stdout, follow, signal));
    if (follow) await Promise.race([endOf(session, id, signal), failureOf(shown)]);
    over.abort();
    await Promise.all(shown);
  } finally {
    over.abort();
  }
}

/** Rejects with the first failure, and else never settles. */
function failureOf(works: readonly Promise<unknown>[]): Promise<never> {
  return new Promise((_, reject) => {
    for (const work of works) work.catch(reject);
  });
}

async function show(id: string, uri: string, isError: boolean, follow: boolean, over: AbortSignal): Promise<void> {
  const out = isError ? process.stderr : process.stdout;
  const path = streamPath(uri);
  const kind = streamKind(uri);
  if (path !== undefined && kind === 'file') return showFile(path, out, follow, over);
  if (path !== undefined && kind === 'fifo') {
    if (follow) {
      process.stderr.write(`berth: ${id} writes into a FIFO: what is shown here, no other reader of it gets\n`);
      return showFifo(path, out, over);
    }
    const why =
      'goes into a FIFO, which keeps nothing: --follow shows what comes from now on, and takes it from others';
    throw new BerthError('failed_precondition', `the output of task "${id}" ${why}`);
  }
  throw new BerthError('failed_precondition', `the output of task "${id}" goes to ${uri}, which can't be read here`);
}

async function showFile(path: string, out: NodeJS.WriteStream, follow: boolean, over: AbortSignal): Promise<void> {
  await using file = await openLog(path);
  let at = await copyFrom(file, 0, out);
  while (follow && !over.aborted) {
    await sleep(pollMs, undefined, { signal: over }).catch(() => undefined);
    // A file that was emptied begins anew.
    if ((await file.stat()).size < at) at = 0;
    at = await copyFrom(file, at, out);
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw BerthError.from(error, `log ${path}`);
  }
}

async function copyFrom(file: FileHandle, start: number, out: NodeJS.WriteStream): Promise<number> {
  let at = start;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(pieceBytes), 0, pieceBytes, at);
    if (bytesRead === 0) return at;
    await write(out, buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

async function showFifo(path: string, out: NodeJS.WriteStream, over: AbortSignal): Promise<void> {
  const { O } = native;
  const fifo = new Socket({ fd: native.open(path, O.RDONLY | O.NONBLOCK, 0), readable: true, writable: false });
  const end = () => fifo.destroy();
  over.addEventListener('abort', end, { once: true });
  try {
    for await (const chunk of fifo) await write(out, chunk as Buffer);
  } catch (error) {
    if (!over.aborted) throw BerthError.from(error, path);
  }
}

/** Resolves when the task has ended; Ctrl-C is how one stops to follow, and no failure. */
async function endOf({ core, namespace }: Session, containerId: string, over: AbortSignal): Promise<void> {
  try {
    await core.tasks.wait({ containerId }, { namespace, signal: over });
  } catch (error) {
    if (!isCode(error, 'not_found') && !over.aborted) throw error;
  }
}
