import { BlockList, isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { BerthError } from '../errors.ts';

/** Where metrics are served: a unix socket, or a port of the loopback interface. */
export type MetricsAddress = { readonly path: string } | { readonly host: string; readonly port: number };

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/**
 * Reads `metrics.address`: an absolute path, `127.0.0.1:1338` or `[::1]:1338`; undefined for ''. Other interfaces are
 * refused: whoever reads metrics isn't asked who he is.
 * @throws invalid_argument naming the key and the remedy
 */
export function metricsAddress(text: string): MetricsAddress | undefined {
  if (text === '') return undefined;
  if (isAbsolute(text)) return { path: text };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const family = isIP(host);
  if (family === 0 || port > 65_535) {
    throw new BerthError(
      'invalid_argument',
      `metrics.address "${text}": want the absolute path of a unix socket, or address and port such as 127.0.0.1:1338`,
    );
  }
  if (!loopback.check(host, family === 6 ? 'ipv6' : 'ipv4')) {
    throw new BerthError(
      'invalid_argument',
      `metrics.address "${text}" is no loopback address: let what authenticates its clients, such as kube-rbac-proxy, serve it`,
    );
  }
  return { host, port };
}
