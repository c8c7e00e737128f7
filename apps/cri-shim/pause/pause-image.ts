import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { Channel } from '#common/grpc/client.ts';
import { buildImage, imageArchive } from '#common/oci/image-archive.ts';
import { importArchive } from '#common/transfer/import-archive.ts';

/** A user that owns nothing, as the images of pause that Kubernetes publishes have it. */
const USER = '65535:65535';

/**
 * Puts the built-in sandbox image into berthd's store under `reference`, unpacked. Needs no network.
 *
 * @param use what for: images of different uses have different ids, so that removing one leaves the other
 *
 * @throws `failed_precondition` when the program was not built.
 */
export async function importPauseImage(
  channel: Channel,
  reference: string,
  snapshotter: string,
  use: 'sandboxes' | 'pulls',
  signal?: AbortSignal,
): Promise<void> {
  const data = await readFile(programPath()).catch((cause) => {
    throw new BerthError('failed_precondition', `${programPath()} is missing; "npm run build:pause" makes it`, {
      cause,
    });
  });
  const image = buildImage([{ type: 'file', name: 'pause', data, mode: 0o755 }], {
    User: USER,
    Env: ['PATH=/'],
    Entrypoint: ['/pause'],
    WorkingDir: '/',
    Labels: { 'berth.pause/use': use },
  });
  await importArchive(channel, imageArchive(image, reference), { unpackWith: snapshotter, signal });
}

/** The program lies in the tree's dist/, unless BERTH_PAUSE names another. */
function programPath(): string {
  return process.env.BERTH_PAUSE || join(dirname(dirname(dirname(import.meta.dirname))), 'dist/pause');
}
