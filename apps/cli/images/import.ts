import { open } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import { layoutArchive } from '#common/oci/layout-archive.ts';
import { importArchive } from '#common/transfer/import-archive.ts';
import type { Session } from '../session.ts';
import { openProgress } from './progress-stream.ts';

export interface ImportOptions {
  readonly snapshotter: string;
  readonly unpack: boolean;
}

/** `berth images import`: an OCI or Docker archive from a file, or from standard input for `-`, or an OCI layout directory. */
export async function importImages(session: Session, file: string, options: ImportOptions): Promise<void> {
  const names: string[] = [];
  {
    const handle = file === '-' ? undefined : await openArchive(file);
    const isDirectory = (await handle?.stat())?.isDirectory() ?? false;
    await using progress = await openProgress(session, ({ event, name }) => {
      if (event === 'saved') names.push(name);
    });
    try {
      const archive = isDirectory ? layoutArchive(file) : handle?.createReadStream({ autoClose: false });
      await importArchive(session.core.channel, archive ?? process.stdin, {
        namespace: session.namespace,
        signal: session.signal,
        progressStream: progress.id,
        ...(options.unpack ? { unpackWith: options.snapshotter } : {}),
      });
    } catch (error) {
      throw BerthError.from(error, file);
    } finally {
      await handle?.close();
      // An import that has failed reads no further.
      if (handle === undefined) process.stdin.destroy();
    }
  }
  session.print(() => names.map((name) => `imported ${name}`).join('\n'), { imported: names });
}

async function openArchive(file: string) {
  try {
    return await open(file);
  } catch (error) {
    throw BerthError.from(error, `archive ${file}`);
  }
}
