import { mkdir, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '#common/errors.ts';

/** The demo's pod network: a bridge and a subnet of its own. Disposing it removes the bridge and the rule. */
export class DemoNetwork implements AsyncDisposable {
  readonly bridge: string;
  readonly subnet: string;
  /** Directory with the CNI configuration. */
  readonly confDir: string;
  readonly #rule: readonly string[];
  #ruleAdded = false;

  private constructor(bridge: string, prefix: string, confDir: string) {
    this.bridge = bridge;
    this.subnet = `${prefix}0/24`;
    this.confDir = confDir;
    this.#rule = ['FORWARD', '-i', bridge, '-o', bridge, '-j', 'ACCEPT', '-m', 'comment', '--comment', 'berth demo'];
  }

  /** `name` is at most 15 characters (the kernel's limit for interfaces). The bridge plugin makes the bridge. */
  static async create(dir: string, name: string): Promise<DemoNetwork> {
    const network = new DemoNetwork(name, freePrefix(), join(dir, 'net.d'));
    await mkdir(network.confDir, { recursive: true });
    const plugin = {
      type: 'bridge',
      bridge: name,
      isGateway: true,
      ipam: {
        type: 'host-local',
        dataDir: join(dir, 'ipam'),
        ranges: [[{ subnet: network.subnet }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    };
    const list = { cniVersion: '1.0.0', name, plugins: [plugin] };
    await writeFile(join(network.confDir, '10-berth-demo.conflist'), JSON.stringify(list, null, 2));
    await network.#allowForwarding();
    return network;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ruleAdded) await execa('iptables', ['-w', '-D', ...this.#rule]);
    if (await this.#exists()) {
      await execa('ip', ['link', 'delete', this.bridge]);
    }
  }

  /** With br_netfilter and a FORWARD policy of DROP (Docker sets it), pods on one bridge don't reach each other. */
  async #allowForwarding(): Promise<void> {
    const { stdout, failed } = await execa('iptables', ['-w', '-S', 'FORWARD'], { reject: false });
    if (failed || !stdout.includes('-P FORWARD DROP')) return;
    await execa('iptables', ['-w', '-I', ...this.#rule]);
    this.#ruleAdded = true;
  }

  async #exists(): Promise<boolean> {
    return !(await execa('ip', ['link', 'show', this.bridge], { reject: false })).failed;
  }
}

/** The first three parts of a /24 that no interface of this machine is in. */
function freePrefix(): string {
  const taken = Object.values(networkInterfaces()).flatMap(
    (addresses) => addresses?.map(({ address }) => address) ?? [],
  );
  for (let third = 254; third > 0; third--) {
    const prefix = `10.254.${third}.`;
    if (!taken.some((address) => address.startsWith(prefix))) return prefix;
  }
  throw new BerthError('resource_exhausted', 'no free subnet in 10.254.0.0/16 for the demo');
}
