import { BlockList, isIP } from 'node:net';
import { isLoopback } from './loopback.ts';

/** The variables that say which proxies there are; the names in small letters count too. */
export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * What an agent of Node's http is told about proxies for a server (`proxyEnv`), undefined for a direct connection.
 * NO_PROXY is read here and not by Node, which knows no networks (`10.0.0.0/8`). Its meaning is that of Go's programs,
 * which share their environment files with this one (golang.org/x/net/http/httpproxy): names with their subdomains,
 * addresses, networks, each with or without a port, or `*`. This machine itself is never asked for through a proxy.
 */
export function proxyFor(url: URL, env: ProxyEnvironment): Record<string, string> | undefined {
  if (isLoopback(url.host)) return undefined;
  const read = (name: string): string => env[name.toLowerCase()] || env[name] || '';
  const proxy = read(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY');
  if (
    proxy === '' ||
    read('NO_PROXY')
      .split(',')
      .some((entry) => covers(entry.trim().toLowerCase(), url))
  )
    return undefined;
  const text = /^[a-z]+:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
  return url.protocol === 'https:' ? { HTTPS_PROXY: text } : { HTTP_PROXY: text };
}

function covers(entry: string, url: URL): boolean {
  if (entry === '') return false;
  if (entry === '*') return true;
  const name = url.hostname.replace(/^\[|\]$/g, '');
  if (entry.includes('/')) return isIP(name) !== 0 && inNetwork(name, entry);
  const [, host = '', port = ''] = /^(\[[^\]]*\]|[^:]*|[0-9a-f:]+)(?::([0-9]+))?$/.exec(entry) ?? [];
  if (port !== '' && port !== (url.port || (url.protocol === 'https:' ? '443' : '80'))) return false;
  const bare = host.replace(/^\[|\]$/g, '').replace(/^\*(?=\.)/, '');
  if (bare === '') return false;
  return bare.startsWith('.') ? name.endsWith(bare) : name === bare || (isIP(bare) === 0 && name.endsWith(`.${bare}`));
}

function inNetwork(address: string, network: string): boolean {
  const [base = '', bits = ''] = network.split('/');
  const family = isIP(base) === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  try {
    list.addSubnet(base, Number(bits), family);
    return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  } catch {
    // An entry that isn't a network covers nothing.
    return false;
  }
}
