import { Worker } from 'node:worker_threads';
import { BerthError } from '#common/errors.ts';

/** {@link firstDifference} in a thread of its own. */
export async function compareTrees(tree: string, fresh: string, signal: AbortSignal): Promise<string | undefined> {
  const worker = new Worker(new URL('./compare-worker.ts', import.meta.url), { workerData: { tree, fresh } });
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const stop = () => reject(BerthError.from(signal.reason));
  worker.once('message', (difference: string | null) => resolve(difference ?? undefined));
  worker.once('error', (error) => reject(BerthError.from(error, `compare ${tree} with its layer`)));
  worker.once('exit', () => reject(new BerthError('internal', `comparing ${tree} ended without an answer`)));
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', stop);
    await worker.terminate();
  }
}
