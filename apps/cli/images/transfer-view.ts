import { Listr } from 'listr2';
import { shortDigest } from '../output/format.ts';
import { type BlobState, describeBlob, TransferProgress } from './progress.ts';
import type { ProgressMessage } from './progress-stream.ts';

export interface DrawnTransfer {
  /** `Pull docker.io/library/busybox:latest`. */
  readonly title: string;
  /** What the daemon says last of a layer. */
  readonly finalEvents: readonly string[];
  /** Digests of the layers: at once, or of a manifest that has arrived. */
  readonly layers: readonly string[] | ((manifestDigest: string, size: number) => Promise<readonly string[]>);
  readonly transfer: (onMessage: (message: ProgressMessage) => void) => Promise<void>;
}

const manifestPrefix = 'manifest-';

/** Draws a line per layer, with a bar while it moves. @throws what the transfer throws */
export async function drawTransfer({ title, finalEvents, layers, transfer }: DrawnTransfer): Promise<void> {
  const progress = new TransferProgress();
  const watchers = new Map<string, (state: BlobState) => void>();
  const digests = Promise.withResolvers<readonly string[]>();
  let found: Promise<readonly string[]> | undefined;
  if (typeof layers !== 'function') digests.resolve(layers);
  const done = transfer((message) => {
    const state = progress.add(message);
    watchers.get(message.name)?.(state);
    const arrived = ['complete', 'already exists'].includes(message.event);
    if (typeof layers === 'function' && arrived && message.name.startsWith(manifestPrefix)) {
      // Without the names of the layers the transfer goes on as well, undrawn.
      found ??= layers(message.name.slice(manifestPrefix.length), state.total).catch(() => []);
      digests.resolve(found);
    }
  });
  done.then(() => digests.resolve(found ?? []), digests.reject);

  const follow = (digest: string, show: (text: string) => void): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watch = (state: BlobState) => {
      show(`${shortDigest(digest)}  ${describeBlob(state)}`);
      if (finalEvents.includes(state.event)) resolve();
    };
    watchers.set(`layer-${digest}`, watch);
    const state = progress.get(`layer-${digest}`);
    if (state !== undefined) watch(state);
    return Promise.race([promise, done]);
  };
  const lines = new Listr(
    [
      {
        title,
        task: async (_, line) => {
          const lines = [...new Set(await digests.promise)];
          return line.newListr(
            lines.map((digest) => ({
              title: shortDigest(digest),
              task: (_, layerLine) =>
                follow(digest, (text) => {
                  layerLine.title = text;
                }),
            })),
            { concurrent: true },
          );
        },
      },
    ],
    {
      // The command has its own way with signals and errors.
      registerSignalListeners: false,
      rendererOptions: { collapseSubtasks: false, showErrorMessage: false, collapseErrors: false },
    },
  );
  await lines.run();
  await done;
}
