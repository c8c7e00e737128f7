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
  readonly disableGC: boolean;
  /** Plugins in files of their own, below the network's name, don't belong to it (from 1.1.0 on). */
  readonly loadOnlyInlinedPlugins: boolean;
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
  const single = !('plugins' in parsed) && 'type' in parsed;
  const loadOnlyInlinedPlugins = single || flag(parsed, 'loadOnlyInlinedPlugins', refuse);
  // A list without the key has all its plugins in files of their own.
  const separate = !single && !('plugins' in parsed) && !loadOnlyInlinedPlugins;
  const plugins: unknown = single ? [parsed] : separate ? [] : parsed.plugins;
  const name = parsed.name;
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw refuse('has no valid "name": letters, digits, "_", "." and "-"');
  }
  if (!Array.isArray(plugins) || (plugins.length === 0 && !separate)) throw refuse('lists no plugins');
  if (!plugins.every(isPlugin)) throw refuse('has a plugin without a valid "type"');
  return {
    name,
    cniVersion: chooseVersion(parsed, refuse),
    disableCheck: flag(parsed, 'disableCheck', refuse),
    disableGC: flag(parsed, 'disableGC', refuse),
    loadOnlyInlinedPlugins,
    plugins,
    source: single ? JSON.stringify({ cniVersion: parsed.cniVersion, name, plugins }) : text,
  };
}

/**
 * A network with the plugins that have files of their own behind its own ones. The source then has them all, so that
 * DEL finds them whatever becomes of the files.
 *
 * @throws failed_precondition for a file that isn't a plugin's configuration.
 */
export function withPluginFiles(list: NetworkList, files: ReadonlyMap<string, string>): NetworkList {
  if (files.size === 0) return list;
  const more = [...files].map(([path, text]) => parsePlugin(text, path));
  const plugins = [...list.plugins, ...more];
  const source = { ...(JSON.parse(list.source) as object), plugins, loadOnlyInlinedPlugins: true };
  return { ...list, plugins, source: JSON.stringify(source) };
}

function parsePlugin(text: string, path: string): PluginConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new BerthError('failed_precondition', `CNI configuration ${path} is not valid JSON`, { cause });
  }
  if (isPlugin(parsed)) return parsed;
  throw new BerthError('failed_precondition', `CNI configuration ${path} has no valid "type"`);
}

function isPlugin(value: unknown): value is PluginConfig {
  return isObject(value) && typeof value.type === 'string' && value.type !== '' && !value.type.includes('/');
}

/** Flags of a list may be texts, in any case: libcni takes them so. */
function flag(parsed: Record<string, unknown>, key: string, refuse: (why: string) => BerthError): boolean {
  const text = String(parsed[key] ?? false).toLowerCase();
  if (text === 'true' || text === 'false') return text === 'true';
  throw refuse(`has ${JSON.stringify(parsed[key])} as "${key}": it is true or false`);
}

/** Whether a network's version has the commands GC and STATUS. */
export function hasStatus({ cniVersion }: NetworkList): boolean {
  return (
    supportedVersions.indexOf(cniVersion as (typeof supportedVersions)[number]) >= supportedVersions.indexOf('1.1.0')
  );
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
