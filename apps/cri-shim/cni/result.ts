import { BerthError } from '#common/errors.ts';

/** What ADD answers, as versions 0.3.0 to 1.1.0 have it in common (CNI specification, section 5). */
export interface CniResult {
  readonly cniVersion?: string;
  readonly interfaces?: readonly { readonly name: string; readonly mac?: string; readonly sandbox?: string }[];
  readonly ips?: readonly { readonly address: string; readonly gateway?: string; readonly interface?: number }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns?: {
    readonly nameservers?: readonly string[];
    readonly domain?: string;
    readonly search?: readonly string[];
    readonly options?: readonly string[];
  };
  readonly [key: string]: unknown;
}

/** @throws internal when the last plugin of a chain printed no result. */
export function asResult(value: unknown, network: string): CniResult {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as CniResult;
  throw new BerthError('internal', `CNI network "${network}" answered ADD without a result`);
}

/** Which of a pod's addresses is its first: of a family, or as the plugin has them. */
export const ipPreferences = ['ipv4', 'ipv6', 'cni'] as const;
export type IpPreference = (typeof ipPreferences)[number];

/** The pod's addresses on its first interface, the primary one first. */
export function podAddresses(result: CniResult, preference: IpPreference): string[] {
  const inside = (result.ips ?? []).filter((ip) => {
    // An address without an interface is the pod's; one on an interface counts when that lies in the pod.
    if (ip.interface === undefined) return true;
    const owner = result.interfaces?.[ip.interface];
    return owner === undefined || (owner.sandbox ?? '') !== '';
  });
  const addresses = inside.map(({ address }) => address.split('/')[0] ?? address);
  if (preference === 'cni') return addresses;
  const isPreferred = (ip: string) => ip.includes(':') === (preference === 'ipv6');
  return [...addresses.filter(isPreferred), ...addresses.filter((ip) => !isPreferred(ip))];
}

/** The results of a pod's networks as one: interfaces, addresses and routes of all, else what the first has. */
export function mergeResults(results: readonly [CniResult, ...CniResult[]]): CniResult {
  if (results.length === 1) return results[0];
  const interfaces = results.flatMap((result) => result.interfaces ?? []);
  let before = 0;
  const ips = results.flatMap((result) => {
    const offset = before;
    before += result.interfaces?.length ?? 0;
    return (result.ips ?? []).map((ip) => {
      return ip.interface === undefined ? ip : { ...ip, interface: ip.interface + offset };
    });
  });
  return { ...results[0], interfaces, ips, routes: results.flatMap((result) => result.routes ?? []) };
}

/** The form that tools know from PodSandboxStatus' verbose `cniResult`: go-cni's. */
export function describeResult(result: CniResult): Record<string, unknown> {
  const interfaces: Record<string, unknown> = {};
  (result.interfaces ?? []).forEach((entry, index) => {
    interfaces[entry.name] = {
      IPConfigs: (result.ips ?? [])
        .filter((ip) => ip.interface === index)
        .map((ip) => ({ IP: ip.address.split('/')[0], Gateway: ip.gateway ?? '' })),
      Mac: entry.mac ?? '',
      Sandbox: entry.sandbox ?? '',
    };
  });
  return { Interfaces: interfaces, DNS: [result.dns ?? {}], Routes: result.routes ?? [] };
}
