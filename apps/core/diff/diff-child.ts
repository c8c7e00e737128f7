/*
 * The process that makes one layer. It waits for its job, makes what it is to read its root directory and only then
 * looks at a name in there. All calls to files are made by this thread: others may be in another mount namespace. It
 * ends when berthd does: writing the layer fails then.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { flushCompileCache } from 'node:module';
import { createGzip, createZstdCompress } from 'node:zlib';
import { BerthError } from '#common/errors.ts';
import { type FsMount, mountOn } from '#common/mount.ts';
import * as native from '#common/native/index.ts';
import { displayPath } from '../unpack/byte-path.ts';
import { LineChannel } from '../unpack/line-channel.ts';
import { lowerLayersOver } from '../unpack/lower-call.ts';
import type { DiffJob, DiffMessage, DiffSource, LayerCompression } from './diff-protocol.ts';
import { LayerArchive } from './layer-archive.ts';
import { treeChanges } from './tree-changes.ts';
import { upperChanges } from './upper-changes.ts';

const DATA = 1;
const BATCH = 256 * 1024;
/** A fifth quicker than zlib's default, and still smaller than what Go's makes of the same layer. */
const GZIP_LEVEL = 5;
const channel = new LineChannel(0, 3);

/** Where the layer goes: through the compressor, whose threads work ahead, or as it is. */
interface Sink {
  write(piece: Buffer): Promise<void>;
  end(): Promise<void>;
}

function writeData(piece: Buffer): void {
  for (let at = 0; at < piece.length; ) at += fs.writeSync(DATA, piece, at);
}

function sinkOf(compression: LayerCompression): Sink {
  if (compression === 'none') return { write: async (piece) => writeData(piece), end: async () => {} };
  const options = { chunkSize: BATCH };
  const stream = compression === 'gzip' ? createGzip({ ...options, level: GZIP_LEVEL }) : createZstdCompress(options);
  stream.on('data', writeData);
  return {
    async write(piece) {
      if (!stream.write(piece)) await once(stream, 'drain');
    },
    async end() {
      stream.end();
      await once(stream, 'end');
    },
  };
}

/** Makes the source the root directory; answers where in it the upper tree is, and the lower one if there is one. */
function enter(source: DiffSource): { upper: string; lower?: string } {
  if (source.kind === 'upper') {
    native.chroot(source.root);
    return { upper: '' };
  }
  native.unshareMounts();
  mountAll(source.lower, `${source.workspace}/lower`);
  mountAll(source.upper, `${source.workspace}/upper`);
  native.chroot(source.workspace);
  return { upper: '/upper', lower: '/lower' };
}

function mountAll(mounts: readonly FsMount[], root: string): void {
  for (const mount of mounts) {
    try {
      mountOn(mount, root);
    } catch (error) {
      throw BerthError.from(error, `mount ${mount.type} from ${mount.source}`);
    }
  }
}

async function makeLayer({ source, compression, notAfter }: DiffJob): Promise<DiffMessage> {
  const { upper, lower } = enter(source);
  const changes =
    lower === undefined ? upperChanges(upper, lowerLayersOver(channel).lookup) : treeChanges(lower, upper);
  const archive = new LayerArchive(upper, notAfter === undefined ? undefined : BigInt(notAfter));
  const hash = createHash('sha256');
  const sink = sinkOf(compression);
  let pieces: Buffer[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    const data = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size);
    [pieces, size] = [[], 0];
    hash.update(data);
    await sink.write(data);
  };
  // A layer of small files is made of far smaller pieces than it pays to hand on.
  const put = async (piece: Buffer): Promise<void> => {
    pieces.push(piece);
    size += piece.length;
    if (size >= BATCH) await flush();
  };
  for (const change of changes) {
    if (change.kind === 'indirection') return { type: 'mounts needed', path: displayPath(change.path) };
    try {
      for (const piece of archive.write(change)) await put(piece);
    } catch (error) {
      throw BerthError.from(error, displayPath(change.path));
    }
  }
  await put(archive.end());
  await flush();
  await sink.end();
  return { type: 'done', diffId: `sha256:${hash.digest('hex')}` };
}

// Written now, since after chroot its path would mean a place in the layer.
flushCompileCache();
const job = channel.receive() as DiffJob | undefined;
if (job !== undefined) {
  try {
    channel.send(await makeLayer(job));
  } catch (error) {
    const { code, message } = BerthError.from(error);
    channel.send({ type: 'error', code, message } satisfies DiffMessage);
  }
}
process.exit(0);
