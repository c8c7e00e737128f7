import { BerthError } from '#common/errors.ts';

/** Versions of the CNI specification whose configurations and results are understood. */
export const supportedVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

/** One plugin of a network, as its file has it. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

/** A network: its plugins run one after another (CNI specification, section 1). */
export interface NetworkList {
  readonly name: string;
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly plugins: readonly PluginConfig[];
  /** The file's text as one list, which the cache keeps for DEL. */
  readonly source: string;
}

/**
 * Reads a configuration: a list (`.conflist`) or a single plugin (`.conf`, `.json`), which becomes a list of one.
 *
 * @param what names the source in errors.
 * @throws failed_precondition naming what is wrong with it.
 */
export function parseNetworkList(text: string, what: string): NetworkList {
  const refuse = (why: string, cause?: unknown) =>
    new BerthError('failed_precondition', `CNI configuration ${what} ${why}`, { cause });
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw refuse('is not valid JSON', cause);
  }
  if (!isObject(parsed)) throw refuse('is not a JSON object');
  const single = !('plugins' in parsed);
  const plugins: unknown = single ? [parsed] : parsed.plugins;
  const name = parsed.name;
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw refuse('has no valid "name": letters, digits, "_", "." and "-"');
  }
  if (!Array.isArray(plugins) || plugins.length === 0) throw refuse('lists no plugins');
  for (const plugin of plugins) {
    if (!isObject(plugin) || typeof plugin.type !== 'string' || plugin.type === '' || plugin.type.includes('/')) {
      throw refuse('has a plugin without a valid "type"');
    }
  }
  return {
    name,
    cniVersion: chooseVersion(parsed, refuse),
    disableCheck: parsed.disableCheck === true || parsed.disableCheck === 'true',
    plugins: plugins as PluginConfig[],
    source: single ? JSON.stringify({ cniVersion: parsed.cniVersion, name, plugins }) : text,
  };
}

/** `cniVersions` (1.1) offers several: the newest that is understood counts. */
function chooseVersion(parsed: Record<string, unknown>, refuse: (why: string) => BerthError): string {
  const offered = [parsed.cniVersion, ...(Array.isArray(parsed.cniVersions) ? parsed.cniVersions : [])];
  const version = supportedVersions.findLast((supported) => offered.includes(supported));
  if (version !== undefined) return version;
  throw refuse(`has cniVersion ${JSON.stringify(parsed.cniVersion)}; supported are ${supportedVersions.join(', ')}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
