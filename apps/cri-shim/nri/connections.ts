import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir, readFile, rm } from 'node:fs/promises';
import { createConnection, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { makeDirectories } from '#common/make-directories.ts';
import { hasErrno } from '#common/node-error.ts';
import type { StreamListener, StreamSocket } from '#common/ttrpc/socket.ts';
import { sockets } from '#sockets';
import type { CriConfig } from '../config.ts';
import { Multiplexer } from './multiplexer.ts';
import type { Nri } from './nri.ts';
import { NriPlugin, type PluginIdentity } from './plugin.ts';

type NriConfig = CriConfig['nri'];

/** Where plugins come from: those that connect to the socket, and those of a directory, which are launched. */
export class NriConnections {
  readonly #config: NriConfig;
  readonly #nri: Nri;
  readonly #log: Logger;
  #listener: StreamListener | undefined;
  readonly #children = new Set<ChildProcess>();

  constructor(config: NriConfig, nri: Nri, log: Logger) {
    this.#config = config;
    this.#nri = nri;
    this.#log = log;
  }

  /**
   * Launches the plugins of the directory, waits until each is ready or refused, then listens.
   *
   * @throws unavailable when another program listens on the socket, or it can't be made.
   */
  async start(): Promise<void> {
    if (!this.#config.enable) return;
    const launched = (await this.#installed()).map((identity) => this.#launch(identity));
    await Promise.all(launched);
    const { socketPath } = this.#config;
    makeDirectories(dirname(socketPath), 0o700);
    if (await answers(socketPath)) {
      throw new BerthError('unavailable', `nri.socket_path: another program listens on ${socketPath}`);
    }
    await rm(socketPath, { force: true });
    const mask = process.umask(0o177);
    const listening = sockets.listen(socketPath, (socket) => {
      const { multiplexer, adopted } = this.#connect(socket);
      void adopted;
      return multiplexer.events;
    });
    process.umask(mask);
    this.#listener = await listening.catch((error: unknown) => {
      throw BerthError.from(error, `nri.socket_path: listen on ${socketPath}`);
    });
  }

  close(): void {
    this.#listener?.close();
    this.#nri.close();
    for (const child of this.#children) child.kill('SIGKILL');
  }

  #connect(socket: StreamSocket, identity?: PluginIdentity): { multiplexer: Multiplexer; adopted: Promise<void> } {
    const multiplexer = new Multiplexer(socket);
    const limits = { registration: this.#config.registrationTimeout, request: this.#config.requestTimeout };
    const plugin = new NriPlugin(multiplexer, limits, (request) => this.#nri.unsolicited(request), identity);
    return { multiplexer, adopted: this.#nri.adopt(plugin, (of) => this.#configOf(of)) };
  }

  /** The text of the plugin's drop-in file: its full name's, else that of its name without the index. */
  async #configOf({ index, name }: PluginIdentity): Promise<string> {
    for (const file of [`${index}-${name}.conf`, `${name}.conf`]) {
      try {
        return await readFile(join(this.#config.pluginConfigPath, file), 'utf8');
      } catch (error) {
        if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw BerthError.from(error, `read ${file} of an NRI plugin`);
      }
    }
    return '';
  }

  /** Executables that are named INDEX-NAME, in order. */
  async #installed(): Promise<PluginIdentity[]> {
    const { pluginPath } = this.#config;
    const names = await readdir(pluginPath).catch((error: unknown) => {
      if (hasErrno(error, 'ENOENT')) return [];
      throw BerthError.from(error, `nri.plugin_path: read ${pluginPath}`);
    });
    const found: PluginIdentity[] = [];
    for (const file of names.sort()) {
      const [, index, name] = /^(\d\d)-([\w.+-]+)$/.exec(file) ?? [];
      if (index === undefined || name === undefined) continue;
      const executable = await access(join(pluginPath, file), constants.X_OK).then(
        () => true,
        () => false,
      );
      if (executable) found.push({ index, name });
    }
    return found;
  }

  async #launch(identity: PluginIdentity): Promise<void> {
    const { index, name } = identity;
    const child = spawn(join(this.#config.pluginPath, `${index}-${name}`), [], {
      // The fourth descriptor is one end of a socket pair.
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
      env: { NRI_PLUGIN_NAME: name, NRI_PLUGIN_IDX: index, NRI_PLUGIN_SOCKET: '3' },
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.once('error', (error) =>
      this.#log.warn({ err: error, plugin: `${index}-${name}` }, 'NRI plugin not launched'),
    );
    const socket = child.stdio[3];
    if (!(socket instanceof Socket)) return;
    const { multiplexer, adopted } = this.#connect(
      {
        write: (bytes) => {
          if (socket.writable) socket.write(bytes);
        },
        end: () => socket.destroySoon(),
        destroy: () => void socket.destroy(),
      },
      identity,
    );
    socket.on('data', (chunk: Buffer) => multiplexer.events.data(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      multiplexer.events.closed();
      child.kill('SIGKILL');
    });
    await adopted;
  }
}

/** Whether a program listens at a path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
