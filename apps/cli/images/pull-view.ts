import { Listr } from 'listr2';
import { shortDigest } from '../output/format.ts';
import { type BlobState, describeBlob, TransferProgress } from './progress.ts';
import type { ProgressMessage } from './progress-stream.ts';

export interface DrawnPull {
  readonly name: string;
  /** What the daemon says last of a layer. */
  readonly finalEvents: readonly string[];
  /** Digests of the layers of a manifest that has arrived. */
  readonly layersOf: (manifestDigest: string, size: number) => Promise<readonly string[]>;
  readonly pull: (onMessage: (message: ProgressMessage) => void) => Promise<void>;
}

const manifestPrefix = 'manifest-';

/** Draws a line per layer, with a bar while it moves. @throws what the pull throws */
export async function drawPull({ name, finalEvents, layersOf, pull }: DrawnPull): Promise<void> {
  const progress = new TransferProgress();
  const watchers = new Map<string, (state: BlobState) => void>();
  const layers = Promise.withResolvers<readonly string[]>();
  let found: Promise<readonly string[]> | undefined;
  const pulled = pull((message) => {
    const state = progress.add(message);
    watchers.get(message.name)?.(state);
    if (message.name.startsWith(manifestPrefix) && ['complete', 'already exists'].includes(message.event)) {
      // Without the names of the layers the pull goes on as well, undrawn.
      found ??= layersOf(message.name.slice(manifestPrefix.length), state.total).catch(() => []);
      layers.resolve(found);
    }
  });
  pulled.then(() => layers.resolve(found ?? []), layers.reject);

  const follow = (digest: string, show: (text: string) => void): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watch = (state: BlobState) => {
      show(`${shortDigest(digest)}  ${describeBlob(state)}`);
      if (finalEvents.includes(state.event)) resolve();
    };
    watchers.set(`layer-${digest}`, watch);
    const state = progress.get(`layer-${digest}`);
    if (state !== undefined) watch(state);
    return Promise.race([promise, pulled]);
  };
  const lines = new Listr(
    [
      {
        title: `Pull ${name}`,
        task: async (_, line) => {
          const digests = [...new Set(await layers.promise)];
          return line.newListr(
            digests.map((digest) => ({
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
  await pulled;
}
