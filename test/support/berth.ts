import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { type Berthd, startBerthd } from './berthd.ts';
import { type BridgeNetwork, bridgeNetwork } from './bridge.ts';
import { type CriClients, criClients } from './cri-clients.ts';
import { Daemon } from './daemon.ts';

/** Both daemons with everything they keep below one folder. */
export interface Berth {
  readonly berthd: Berthd;
  /** berth-cri. */
  readonly cri: Daemon;
  readonly criSocket: string;
  readonly network: BridgeNetwork;
  clients(): CriClients;
  /** Stops both; pods go on. */
  stop(): Promise<void>;
}

export interface BerthOptions {
  readonly dir: string;
  /** Tells pod networks on one machine apart: 0–255. */
  readonly network: number;
  /** Further keys of cri.toml. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Keys of berthd.toml. */
  readonly coreSettings?: Readonly<Record<string, unknown>>;
  readonly logLevel?: string;
}

const main = new URL('../../apps/cri-shim/main.ts', import.meta.url).pathname;

/** Starts berthd and berth-cri below `dir`, with a pod network of their own. */
export async function startBerth(options: BerthOptions): Promise<Berth> {
  const { dir, network: number, settings, coreSettings, logLevel = 'debug' } = options;
  mkdirSync(dir, { recursive: true });
  const network = bridgeNetwork(dir, number);
  const coreConfig = join(dir, 'berthd.toml');
  if (coreSettings !== undefined) writeFileSync(coreConfig, stringify(coreSettings));
  const berthd = await startBerthd({ dir, logLevel, ...(coreSettings && { config: coreConfig }) });
  const criSocket = join(dir, 'cri.sock');
  const config = join(dir, 'cri.toml');
  const text = stringify({
    root: join(dir, 'root', 'cri'),
    state: join(dir, 'state', 'cri'),
    address: criSocket,
    core: { address: berthd.socket },
    cni: { conf_dir: network.confDir, bin_dirs: ['/usr/lib/cni'], cache_dir: join(dir, 'cni', 'cache') },
    log: { level: logLevel },
    ...settings,
  });
  writeFileSync(config, text);
  try {
    const cri = await Daemon.start({
      command: [process.execPath, main, '--config', config],
      socket: criSocket,
      logPath: join(dir, 'logs', 'berth-cri.log'),
    });
    const stop = async (): Promise<void> => {
      await cri.stop();
      await berthd.daemon.stop();
    };
    return { berthd, cri, criSocket, network, clients: () => criClients(criSocket), stop };
  } catch (error) {
    await berthd.daemon.stop();
    throw error;
  }
}
