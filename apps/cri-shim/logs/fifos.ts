import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import { setPipeSize } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { StreamName } from './cri-lines.ts';
import type { LogSource } from './log-manager.ts';
import type { OutputStream } from './output.ts';

/** Four times the kernel's default: halves the CPU time per byte of a container that writes line by line. */
const CAPACITY = 256 * 1024;

/**
 * Opens the FIFOs of a container for reading, without waiting for a writer.
 *
 * @throws `not_found` for a missing FIFO, `failed_precondition` for a path that is something else; none is left open.
 */
export function openFifos(source: LogSource): OutputStream[] {
  const streams: OutputStream[] = [];
  try {
    if (source.stdout !== undefined) streams.push(openFifo('stdout', source.stdout));
    if (source.stderr !== undefined && !source.tty) streams.push(openFifo('stderr', source.stderr));
  } catch (error) {
    closeFifos(streams);
    if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, 'output FIFO');
    throw new BerthError('not_found', `output FIFO: ${messageOf(error)}`, { cause: error });
  }
  return streams;
}

export function closeFifos(streams: readonly OutputStream[]): void {
  for (const stream of streams) closeSync(stream.fifo);
}

function openFifo(name: StreamName, path: string): OutputStream {
  const fifo = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!fstatSync(fifo).isFIFO()) {
    closeSync(fifo);
    throw new BerthError('failed_precondition', `${path} is not a FIFO`);
  }
  enlarge(fifo);
  return { name, fifo, followers: new Set(), ended: false };
}

/** A chatty container then waits less often for us. Where the kernel doesn't allow it, it waits. */
function enlarge(fifo: number): void {
  try {
    setPipeSize(fifo, CAPACITY);
  } catch (error) {
    if (!isCode(BerthError.from(error), 'permission_denied', 'resource_exhausted', 'failed_precondition')) throw error;
  }
}
