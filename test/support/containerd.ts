import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { type CoreClients, coreClients } from './core-clients.ts';
import { Daemon } from './daemon.ts';

/** containerd with everything it keeps below one folder. */
export interface Containerd {
  readonly daemon: Daemon;
  readonly socket: string;
  clients(namespace: string): CoreClients;
}

export interface ContainerdOptions {
  readonly dir: string;
  /** Its executable; default: Debian's. */
  readonly program?: string;
  /** Settings by plugin's name, beside those of the daemon itself. */
  readonly plugins?: Readonly<Record<string, unknown>>;
  readonly disabled?: readonly string[];
}

/** `containerd --version`, undefined where there is none. */
export function containerdVersion(program = 'containerd'): string | undefined {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split(' ')[2]?.replace(/^v/, '') : undefined;
}

export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const { dir, program = 'containerd', plugins = {}, disabled = ['io.containerd.grpc.v1.cri'] } = options;
  const socket = join(dir, 'containerd.sock');
  const config = join(dir, 'config.toml');
  mkdirSync(dir, { recursive: true });
  writeFileSync(
    config,
    stringify({
      version: 2,
      root: join(dir, 'root'),
      state: join(dir, 'state'),
      disabled_plugins: [...disabled],
      grpc: { address: socket },
      debug: { level: 'warn' },
      plugins: { 'io.containerd.internal.v1.opt': { path: join(dir, 'opt') }, ...plugins },
    }),
  );
  const daemon = await Daemon.start({
    command: [program, '--config', config],
    socket,
    logPath: join(dir, 'logs', 'containerd.log'),
  });
  return { daemon, socket, clients: (namespace) => coreClients(socket, namespace) };
}
