import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parse, stringify } from 'smol-toml';
import { writeAtomic } from '#common/atomic-file.ts';
import { messageOf } from '#common/errors.ts';
import { makeDirectories } from '#common/make-directories.ts';
import { hasErrno } from '#common/node-error.ts';
import { defaultPaths } from '#common/paths.ts';
import type { DaemonPlan } from './daemon.ts';

/** How to start both daemons. */
export interface Places {
  readonly core: DaemonPlan;
  readonly cri: DaemonPlan;
}

/** What a private directory may take from elsewhere. */
export interface PlaceOptions {
  readonly certsDir?: string | undefined;
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
}

const apps = join(import.meta.dirname, '../..');
const programs = {
  core: { name: 'berthd', main: join(apps, 'core/main.ts') },
  cri: { name: 'berth-cri', main: join(apps, 'cri-shim/main.ts') },
} as const;

/** The system's places: both daemons read their files in /etc/berth and log to stderr. */
export async function systemPlaces(): Promise<Places> {
  const core = await readTable(defaultPaths.coreConfig);
  const cri = await readTable(defaultPaths.criConfig);
  return {
    core: { ...programs.core, args: [], socket: textAt(core.grpc, 'address') ?? defaultPaths.coreSocket },
    cri: { ...programs.cri, args: [], socket: textAt(cri, 'address') ?? defaultPaths.criSocket },
  };
}

/** Everything below `dir`. The daemons' configuration files are written there anew at each start. */
export async function privatePlaces(dir: string, options: PlaceOptions): Promise<Places> {
  const base = resolve(dir);
  const at = (...path: string[]) => join(base, ...path);
  makeDirectories(base, 0o711);
  const registry = { config_path: resolve(options.certsDir ?? at('certs.d')) };
  const coreSocket = at('berthd.sock');
  const criSocket = at('cri.sock');
  await writeConfig(at('berthd.toml'), {
    root: at('root'),
    state: at('state'),
    grpc: { address: coreSocket },
    registry: { ...registry, docker_config: at('docker', 'config.json') },
  });
  await writeConfig(at('cri.toml'), {
    root: at('root', 'cri'),
    state: at('state', 'cri'),
    address: criSocket,
    core: { address: coreSocket },
    cni: {
      conf_dir: resolve(options.cniConfDir ?? defaultPaths.cniConfDir),
      bin_dirs: options.cniBinDir === undefined ? [...defaultPaths.cniBinDirs] : [resolve(options.cniBinDir)],
    },
    // Plugins connect to a socket of this directory only, so they disturb nobody.
    cdi: { spec_dirs: [at('cdi')] },
    nri: {
      enable: true,
      socket_path: at('nri.sock'),
      plugin_path: at('nri', 'plugins'),
      plugin_config_path: at('nri', 'conf.d'),
    },
    registry,
  });
  return {
    core: {
      ...programs.core,
      args: ['--config', at('berthd.toml')],
      socket: coreSocket,
      log: at('logs', 'berthd.log'),
    },
    cri: { ...programs.cri, args: ['--config', at('cri.toml')], socket: criSocket, log: at('logs', 'berth-cri.log') },
  };
}

async function writeConfig(path: string, settings: Record<string, unknown>): Promise<void> {
  await writeAtomic(path, `# Written by berth at each start; what is changed here is lost.\n${stringify(settings)}\n`);
}

/** A configuration file as it is; the daemon itself checks it and says what is wrong. */
async function readTable(path: string): Promise<Record<string, unknown>> {
  try {
    return parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) process.stderr.write(`berth: ${path}: ${messageOf(error)}\n`);
    return {};
  }
}

function textAt(table: unknown, key: string): string | undefined {
  if (typeof table !== 'object' || table === null || !Object.hasOwn(table, key)) return undefined;
  const value = (table as Record<string, unknown>)[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
