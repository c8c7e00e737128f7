import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A pod network of a test: a bridge of its own, made by Debian's bridge plugin on the first ADD. */
export interface BridgeNetwork {
  readonly bridge: string;
  /** Folder with the CNI configuration. */
  readonly confDir: string;
  /** First three parts of the addresses, with a dot behind. */
  readonly prefix: string;
}

/** `number` (0–255) tells networks on one machine apart. */
export function bridgeNetwork(dir: string, number: number): BridgeNetwork {
  const bridge = `berth-t${number}`;
  const prefix = `10.253.${number}.`;
  const confDir = join(dir, 'cni', 'net.d');
  mkdirSync(confDir, { recursive: true });
  const ipam = { type: 'host-local', dataDir: join(dir, 'cni', 'ipam'), ranges: [[{ subnet: `${prefix}0/24` }]] };
  const plugin = { type: 'bridge', bridge, isGateway: true, ipam: { ...ipam, routes: [{ dst: '0.0.0.0/0' }] } };
  const list = { cniVersion: '1.0.0', name: bridge, plugins: [plugin] };
  writeFileSync(join(confDir, '10-test.conflist'), JSON.stringify(list));
  return { bridge, confDir, prefix };
}

/** The plugin leaves its bridge to the machine. */
export function removeBridge({ bridge }: BridgeNetwork): void {
  if (existsSync(`/sys/class/net/${bridge}`)) execFileSync('ip', ['link', 'delete', bridge]);
}
