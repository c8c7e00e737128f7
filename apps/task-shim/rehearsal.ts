import { BerthError } from '#common/errors.ts';
import { makeFolders, removeFile, removeFolder, writeText } from '#common/native/files.ts';
import { close, pipe, spawn } from '#common/native/index.ts';
import { encodeFrame, FrameReader, frameTypes } from '#common/ttrpc/frame.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import type { StreamEvents, StreamSocket } from '#common/ttrpc/socket.ts';
import { taskMethods } from '#common/ttrpc/task-methods.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { Bundle } from './bundle.ts';
import { EventForwarder } from './events.ts';
import { ShimLog } from './log.ts';
import { Reaper } from './reaper.ts';
import { TaskService } from './service.ts';
import { openNull } from './stdio.ts';

const id = 'rehearsal';

/**
 * Leads a container through its life, from Create to Delete, as a daemon does: with this folder for a bundle, `true` for
 * an OCI runtime and a `cat` for the container. Whatever a program does for the first time takes several times as long
 * and takes memory that stays: here it is done on behalf of all forks. Leaves nothing but what was learned.
 * @throws what any of the calls was refused for
 */
export async function rehearse(folder: string): Promise<void> {
  const bundle = new Bundle(folder);
  const log = new ShimLog(bundle.log, { id }, false);
  const reaper = new Reaper();
  const forwarder = new EventForwarder('', id, log);
  const server = new TtrpcServer();
  const service = new TaskService(
    { namespace: id, socketPath: () => `${folder}/pty`, reaper, publish: forwarder.publish, log },
    { settled: () => undefined, shutdown: () => undefined },
  );
  service.register(server);
  const caller = new Caller(server);
  reaper.start();
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  try {
    const pid = spawn(['cat'], [], null, [readEnd, devNull, devNull], false);
    makeFolders(bundle.rootfs, 0o700);
    writeText(bundle.initPid, String(pid));
    writeText(`${folder}/config.json`, '{}');
    const options = Buffer.from(encode('containerd.runc.v1.Options', { binaryName: 'true', root: folder }));
    const type = 'containerd.runc.v1.Options';
    await caller.call('Create', { id, bundle: folder, rootfs: [], options: { type_url: type, value: options } });
    await caller.call('Start', { id });
    await caller.call('State', { id });
    const ended = caller.call('Wait', { id });
    await caller.call('Kill', { id, signal: 9 });
    await ended;
    await caller.call('Delete', { id });
    await caller.call('Connect', { id });
    await forwarder.drain(1000);
  } finally {
    for (const fd of [devNull, readEnd, writeEnd]) close(fd);
    reaper.stop();
    for (const name of ['config.json', 'runtime.json', 'shim.pid', 'init.pid']) removeFile(`${folder}/${name}`);
    removeFolder(bundle.rootfs);
  }
}

/** A daemon's connection without a socket. */
class Caller {
  readonly #events: StreamEvents;
  readonly #answers = new FrameReader();
  readonly #waiting = new Map<number, (answer: Buffer) => void>();
  #nextStreamId = 1;

  constructor(server: TtrpcServer) {
    const socket: StreamSocket = {
      write: (bytes) => {
        for (const { streamId, data } of this.#answers.push(Buffer.from(bytes))) this.#waiting.get(streamId)?.(data);
      },
      end: () => undefined,
      destroy: () => undefined,
    };
    this.#events = server.accept(socket);
  }

  async call(method: keyof typeof taskMethods, request: object): Promise<void> {
    const payload = Buffer.from(encode(taskMethods[method][0], request));
    const bytes = encode('ttrpc.Request', { service: 'containerd.task.v3.Task', method, payload });
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    const answer = await new Promise<Buffer>((resolve) => {
      this.#waiting.set(streamId, resolve);
      this.#events.data(encodeFrame(streamId, frameTypes.request, bytes));
    });
    const { status } = decode('ttrpc.Response', answer);
    if (status !== null && status.code !== 0) throw new BerthError('internal', `${method}: ${status.message}`);
  }
}
