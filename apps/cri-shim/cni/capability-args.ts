import { BerthError } from '#common/errors.ts';
import type { Protocol__Output } from '#proto/runtime/v1/Protocol.ts';
import type { PodConfig } from '../cri-types.ts';

/**
 * What a pod tells plugins beyond the network's own configuration; each reaches the plugins that declare the
 * capability of that name (CNI conventions, "dynamic plugin specific fields").
 *
 * @throws invalid_argument for a bandwidth annotation that isn't a quantity, and for a port's protocol that CRI has no
 *   name for.
 */
export function capabilityArgs(config: PodConfig): Record<string, unknown> {
  const args: Record<string, unknown> = {};
  const portMappings = config.portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ hostPort, containerPort, protocol, hostIp }) => ({
      hostPort,
      containerPort,
      protocol: protocolName(protocol),
      hostIP: hostIp,
    }));
  if (portMappings.length > 0) args.portMappings = portMappings;
  const bandwidth = bandwidthOf(config.annotations);
  if (bandwidth !== undefined) args.bandwidth = bandwidth;
  const dns = config.dnsConfig;
  if (dns !== null) args.dns = { servers: dns.servers, searches: dns.searches, options: dns.options };
  const cgroupPath = config.linux?.cgroupParent ?? '';
  if (cgroupPath !== '') args.cgroupPath = cgroupPath;
  args['io.kubernetes.cri.pod-annotations'] = config.annotations;
  return args;
}

function protocolName(protocol: Protocol__Output | number): string {
  if (typeof protocol === 'string') return protocol.toLowerCase();
  throw new BerthError('invalid_argument', `a port mapping's protocol ${protocol} is none of TCP, UDP and SCTP`);
}

/** Rates in bits per second. The burst is unlimited, as far as the plugin's 32-bit field lets it be. */
function bandwidthOf(annotations: Readonly<Record<string, string>>): Record<string, number> | undefined {
  const unlimitedBurst = 2 ** 31 - 1;
  const result: Record<string, number> = {};
  for (const direction of ['ingress', 'egress'] as const) {
    const text = annotations[`kubernetes.io/${direction}-bandwidth`];
    if (text === undefined) continue;
    const rate = quantity(text);
    if (rate === undefined || rate < 1000 || rate > 1e15) {
      throw new BerthError(
        'invalid_argument',
        `annotation kubernetes.io/${direction}-bandwidth: ${JSON.stringify(text)} is not a rate from 1k to 1P`,
      );
    }
    result[`${direction}Rate`] = rate;
    result[`${direction}Burst`] = unlimitedBurst;
  }
  return Object.keys(result).length === 0 ? undefined : result;
}

const multipliers: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A Kubernetes resource quantity in its usual notations. */
function quantity(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([kMGTP]|[KMGT]i)?$/.exec(text);
  const multiplier = multipliers[match?.[2] ?? ''];
  return match === null || multiplier === undefined ? undefined : Math.round(Number(match[1]) * multiplier);
}
