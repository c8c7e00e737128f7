/*
 * The process that applies layers, one after another. For each it waits for the job, opens the blob, makes the snapshot's
 * directory its root and only then reads a byte of the archive. It ends when berthd does: telling progress fails then.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { flushCompileCache } from 'node:module';
import { BerthError } from '#common/errors.ts';
import * as native from '#common/native/index.ts';
import { ShortLivedBuffers } from '../diff/short-lived-buffers.ts';
import type { ApplyJob, ChildMessage } from './apply-protocol.ts';
import { decompress, detectCompression } from './decompress.ts';
import { OutOfPlace } from './directory-tree.ts';
import { LayerWriter } from './layer-writer.ts';
import { LineChannel } from './line-channel.ts';
import { lowerLayersOver } from './lower-call.ts';
import { requireRoom } from './room.ts';
import { TarReader } from './tar-reader.ts';

const READ_SIZE = 512 * 1024;
const LET_GO_SIZE = 4 * 1024 * 1024;
const PROGRESS_INTERVAL_MS = 100;

const channel = new LineChannel(0, 3);

function send(message: ChildMessage): void {
  channel.send(message);
}

type Applied = Omit<Extract<ChildMessage, { readonly type: 'done' }>, 'type'>;

/** Leaves nothing open, and the layer no longer its root: neither may be in the way of what is done with them next. */
async function apply(job: ApplyJob): Promise<Applied> {
  using after = new DisposableStack();
  // The stream that reads a blob closes it.
  const blob = fs.openSync(job.blob, 'r');
  let again = job.isAhead ? fs.openSync(job.blob, 'r') : undefined;
  after.defer(() => {
    if (again !== undefined) fs.closeSync(again);
  });
  native.chroot(job.root);
  after.defer(() => native.fchroot(home));
  // Opened before anything is written: it tells of all writes that fail from here on (syncfs(2)).
  const root = after.adopt(fs.openSync('/', 'r'), fs.closeSync);

  const below = lowerLayersOver(channel);
  const writer = new LayerWriter(job.whiteouts, below, job.isAhead);
  const applied = await unpack(blob, writer).catch((error: unknown) => {
    if (!(error instanceof OutOfPlace) || again === undefined) throw error;
    writer.discard();
    // Now the layers below are there.
    const second = unpack(again, new LayerWriter(job.whiteouts, below, false));
    again = undefined;
    return second;
  });
  native.syncfs(root);
  return applied;
}

/** Reads the layer and writes it. @throws OutOfPlace when it has to be done over, with what is known now. */
async function unpack(blob: number, writer: LayerWriter): Promise<Applied> {
  const start = Buffer.alloc(6);
  const length = fs.readSync(blob, start);
  const compression = detectCompression(start.subarray(0, length));
  const source = fs.createReadStream('', { fd: blob, highWaterMark: READ_SIZE });
  source.unshift(start.subarray(0, length));
  const hash = createHash('sha256');
  const reader = new TarReader();
  const buffers = new ShortLivedBuffers(LET_GO_SIZE);
  let size = 0;
  let told = 0;
  for await (const chunk of decompress(source, compression)) {
    hash.update(chunk);
    size += chunk.length;
    for (const event of reader.push(chunk)) writer.handle(event);
    requireRoom('/');
    buffers.used(chunk.length);
    const now = Date.now();
    if (now - told >= PROGRESS_INTERVAL_MS) {
      told = now;
      send({ type: 'progress', bytes: source.bytesRead });
    }
  }
  reader.close();
  writer.finish();
  return { diffId: `sha256:${hash.digest('hex')}`, size, hasRoot: writer.hasRoot };
}

process.umask(0);
const home = fs.openSync('/', 'r');
// Written now, since in a layer its path would mean a place there.
flushCompileCache();
for (let job = channel.receive(); job !== undefined; job = channel.receive()) {
  try {
    send({ type: 'done', ...(await apply(job as ApplyJob)) });
  } catch (error) {
    const { code, message } = BerthError.from(error);
    send({ type: 'error', code, message });
  }
}
process.exit(0);
