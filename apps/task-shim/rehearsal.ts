import { makeFolders, removeFile, removeFolder, writeText } from '#common/native/files.ts';
import { close, mkfifo, pipe, spawn } from '#common/native/index.ts';
import { poller } from '#common/native/poller.ts';
import { parseServeRequest, type ServeRequest } from '#common/shim-serve.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { taskMethods } from '#common/ttrpc/task-methods.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import { Bundle } from './bundle.ts';
import { parseCommandLine } from './command-line.ts';
import { ShimLog } from './log.ts';
import { compose } from './serve.ts';
import { openNull } from './stdio.ts';

const id = 'rehearsal';
const execId = 'probe';
/** Relative, because a socket's path may have 107 bytes and the folder's is an operator's. */
const socket = './shim.sock';
const eventSocket = './events.sock';

/**
 * Serves a daemon that leads a container through its life, from Create to Shutdown: with the working directory for a
 * bundle, `true` for an OCI runtime and a `cat` for the container. Whatever a program does for the first time takes
 * several times as long, takes memory that stays, and writes into memory that forks could share: here it is done on
 * behalf of all of them. Leaves nothing but what was learned, and no thread. Calls back once the container is created.
 * @throws what any of the calls was refused for
 */
export async function rehearse(created = (): void => undefined): Promise<void> {
  using turning = poller.byHand();
  let work: 'going on' | 'done' | 'failed' = 'going on';
  const turns = (async () => {
    while (work === 'going on' || (work === 'done' && !turning.isEmpty)) {
      turning.turn();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  try {
    await serveAndCall(process.cwd(), created);
    work = 'done';
  } catch (error) {
    work = 'failed';
    throw error;
  } finally {
    await turns;
  }
}

async function serveAndCall(folder: string, created: () => void): Promise<void> {
  const bundle = new Bundle(folder);
  const stdout = `${folder}/stdout`;
  const request: ServeRequest = {
    argv: ['shim', '-namespace', id, '-id', id, '-address', folder, '-socket', socket, 'serve'],
    cwd: folder,
    env: { NAMESPACE: id },
  };
  const { argv, env } = parseServeRequest(Buffer.from(JSON.stringify(request)));
  Object.assign(process.env, env);
  const events = new TtrpcServer();
  events.handle('containerd.services.events.ttrpc.v1.Events', 'Forward', () => new Uint8Array());
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  try {
    await events.listen(eventSocket);
    const ended = Promise.withResolvers<void>();
    const log = new ShimLog(bundle.log, { id, namespace: id }, false);
    const line = parseCommandLine(argv.slice(1));
    await compose({ line, log, isFork: true, eventAddress: eventSocket, ended: ended.resolve });
    await using client = await TtrpcClient.connect(socket);
    const call = (method: keyof typeof taskMethods, fields: object): Promise<Uint8Array> =>
      client.call('containerd.task.v3.Task', method, encode(taskMethods[method][0], fields));
    const play = (pidFile: string): void => {
      writeText(pidFile, String(spawn(['cat'], [], null, [readEnd, devNull, devNull], false)));
    };
    mkfifo(stdout, 0o600);
    makeFolders(bundle.rootfs, 0o700);
    play(bundle.initPid);
    writeText(`${folder}/config.json`, '{}');
    const options = Buffer.from(encode('containerd.runc.v1.Options', { binaryName: 'true', root: folder }));
    const type = 'containerd.runc.v1.Options';
    await call('Create', { id, bundle: folder, rootfs: [], stdout, options: { type_url: type, value: options } });
    created();
    const exit = call('Wait', { id });
    await call('Start', { id });
    await call('State', { id });
    await call('Exec', { id, execId, stdout, spec: packJson(typeUrls.process, {}) });
    play(bundle.execPid(execId));
    const execExit = call('Wait', { id, execId });
    await call('Start', { id, execId });
    await call('Kill', { id, execId, signal: 9 });
    await execExit;
    await call('Delete', { id, execId });
    await call('Kill', { id, signal: 9 });
    await exit;
    await call('Delete', { id });
    await call('Connect', { id });
    await call('Shutdown', { id });
    await ended.promise;
  } finally {
    await events.close();
    delete process.env.NAMESPACE;
    for (const fd of [devNull, readEnd, writeEnd]) close(fd);
    for (const name of ['config.json', 'runtime.json', 'shim.pid', 'init.pid', 'address', 'stdout', 'events.sock']) {
      removeFile(`${folder}/${name}`);
    }
    removeFolder(bundle.rootfs);
  }
}
