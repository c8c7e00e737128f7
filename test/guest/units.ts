import { execFileSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { expect } from 'vitest';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { type CoreClients, coreClients } from '../support/core-clients.ts';
import { type CriClients, criClients } from '../support/cri-clients.ts';
import { waitFor } from '../support/wait-for.ts';

/** Both daemons as the units of deploy/systemd run them, in the places that are theirs on a node. */
export const daemons = ['berthd', 'berth-cri'] as const;

export const patient = { waitForReady: true, timeoutMs: 180_000 } as const;

export function systemctl(...args: readonly string[]): string {
  return execFileSync('systemctl', args, { encoding: 'utf8' }).trim();
}

/** A property of a unit, as systemd has it. */
export function property(unit: string, name: string): string {
  return systemctl('show', '--value', '--property', name, unit);
}

/** Copies the units to where the README says, and a pod network to where both daemons look for one. */
export function installUnits(): void {
  for (const unit of globSync('/opt/berth/deploy/systemd/*.service')) {
    cpSync(unit, `/etc/systemd/system/${basename(unit)}`);
  }
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.253.7.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] };
  const plugin = { type: 'bridge', bridge: 'berth-guest', isGateway: true, ipam };
  mkdirSync('/etc/cni/net.d', { recursive: true });
  const list = { cniVersion: '1.0.0', name: 'guest', plugins: [plugin] };
  writeFileSync('/etc/cni/net.d/10-guest.conflist', JSON.stringify(list));
  systemctl('daemon-reload');
}

/**
 * Starts both and waits until they are up. While Node's compile cache is cold it strips types by WebAssembly, and under
 * QEMU's emulation V8 now and then aborts (SIGTRAP) when it compiles that anew (Runtime_WasmTriggerTierUp); so does a
 * script that does nothing else, once in 24 runs. systemd starts the daemon again, as on a node. Nothing else is
 * forgiven.
 */
export async function startDaemons(): Promise<void> {
  systemctl('start', '--no-block', ...daemons);
  await waitFor('both to be up', () => daemons.every((unit) => property(unit, 'ActiveState') === 'active'), 180_000);
  for (const unit of daemons) {
    const journal = execFileSync('journalctl', ['-u', unit, '-o', 'cat'], { encoding: 'utf8' });
    const aborts = journal.match(/code=(?:dumped|killed), status=5\/TRAP/g) ?? [];
    expect(Number(property(unit, 'NRestarts')), journal.split('\n').slice(-40).join('\n')).toBe(aborts.length);
    if (aborts.length > 0) console.log(`${unit}: ${aborts.length} start(s) aborted in V8 under emulation`);
  }
}

/** Clients of both daemons at their default sockets; calls of the core go to the pods' namespace. */
export function nodeClients(): { core: CoreClients; cri: CriClients } {
  return { core: coreClients('/run/berth/berthd.sock', 'k8s.io'), cri: criClients('/run/berth/cri.sock') };
}

/** A pod as a kubelet with the systemd driver asks for it. */
export function podConfig(name: string): PodSandboxConfig {
  const logDirectory = `/var/log/pods/${name}`;
  mkdirSync(logDirectory, { recursive: true });
  return {
    metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
    hostname: name,
    logDirectory,
    linux: { cgroupParent: `/kubepods.slice/kubepods-${name}.slice`, securityContext: {} },
  };
}
