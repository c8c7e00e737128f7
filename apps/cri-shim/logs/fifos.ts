import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';
import type { StreamName } from './cri-lines.ts';
import type { LogSource } from './log-manager.ts';
import type { OutputStream } from './output.ts';

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
    throw BerthError.from(error, `output of container ${source.containerId}`);
  }
  return streams;
}

export function closeFifos(streams: readonly OutputStream[]): void {
  for (const stream of streams) closeSync(stream.fifo);
}

function openFifo(name: StreamName, path: string): OutputStream {
  const fifo = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (fstatSync(fifo).isFIFO()) return { name, fifo, ended: false };
  closeSync(fifo);
  throw new BerthError('failed_precondition', `${path} is not a FIFO`);
}
