import { join } from 'node:path';
import { type CoreClients, coreClients } from './core-clients.ts';
import { Daemon } from './daemon.ts';

/** The core daemon with everything it keeps below one folder. */
export interface Berthd {
  readonly daemon: Daemon;
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  clients(namespace: string): CoreClients;
}

export interface BerthdOptions {
  readonly dir: string;
  /** A berthd.toml; flags put everything below `dir` in any case. */
  readonly config?: string;
  readonly logLevel?: string;
}

const main = new URL('../../apps/core/main.ts', import.meta.url).pathname;

/** Starts berthd below `dir`; what it had there before is found again. */
export async function startBerthd({ dir, config, logLevel = 'debug' }: BerthdOptions): Promise<Berthd> {
  const root = join(dir, 'root');
  const state = join(dir, 'state');
  const socket = join(dir, 'berthd.sock');
  const daemon = await Daemon.start({
    command: [
      process.execPath,
      main,
      ...(config === undefined ? [] : ['--config', config]),
      ...['--root', root, '--state', state, '--address', socket, '--log-level', logLevel],
    ],
    socket,
    logPath: join(dir, 'logs', 'berthd.log'),
  });
  return { daemon, root, state, socket, clients: (namespace) => coreClients(socket, namespace) };
}
