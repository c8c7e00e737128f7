import { refused } from './schema.ts';

const elsewhere = 'each registry has a file of its own, <config_path>/<host>/hosts.toml, which is read again on change';

/** What containerd's CRI plugin once had below `[registry]` and gave up in its version 2. Both daemons refuse it. */
export const formerRegistryKeys = {
  mirrors: refused(`mirrors are not configured here: ${elsewhere}; a mirror is a table [host."https://MIRROR"] in it`),
  configs: refused(`TLS and credentials are not configured here: ${elsewhere}; see ca, client and credentials in it`),
  auths: refused(`credentials are not configured here: ${elsewhere}; see credentials in it`),
  headers: refused(`headers are not configured here: ${elsewhere}; see the table header in it`),
} as const;
