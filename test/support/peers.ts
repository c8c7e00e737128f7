import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach } from 'vitest';

const peers = join(import.meta.dirname, '../../dist/peers');

/** A program that deploy/peers.sh fetches where it can be had. */
export interface Peer {
  /** Path of one of its commands. */
  command(name: string): string;
  /** Why it isn't there; undefined when it is. */
  readonly missing: string | undefined;
}

/** containerd 2.x: the commands `containerd`, `ctr` and `containerd-shim-runc-v2`. */
export const newerContainerd = peer('containerd');

/** Skips the tests of the describe, or of the file, that it is called in, with the reason, where `peer` is missing. */
export function needsPeer({ missing }: Pick<Peer, 'missing'>): void {
  beforeEach(({ skip }) => skip(missing !== undefined, missing));
}

function peer(name: string): Peer {
  const bin = join(peers, name, 'usr/bin');
  return { command: (command) => join(bin, command), missing: existsSync(bin) ? undefined : reason(name) };
}

function reason(name: string): string {
  const path = join(peers, `${name}.missing`);
  return existsSync(path) ? `no ${name} here: ${readFileSync(path, 'utf8').trim()}` : `no ${name}: run deploy/peers.sh`;
}
