import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { BerthError, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { type NetworkList, parseNetworkList, withPluginFiles } from './network-list.ts';

const extensions = new Set(['.conf', '.conflist', '.json']);

/**
 * A directory where network plugins put their configuration, of which the first files by name count: each is a network.
 * It is looked at anew for each question.
 */
export class ConfigDir {
  readonly path: string;
  readonly #most: number;
  readonly #cached = new Map<string, { readonly stamp: string; readonly list: NetworkList }>();

  /** @param most networks at most; 0 is no limit */
  constructor(path: string, most = 1) {
    this.path = path;
    this.#most = most;
  }

  /**
   * The networks, at least one. Of a single one it is the first usable file; where pods get several, a file that can't
   * be used is an error: they would lack an interface.
   *
   * @throws failed_precondition naming the directory, and each file that can't be used.
   */
  async load(): Promise<[NetworkList, ...NetworkList[]]> {
    const files = await this.#files();
    const found: NetworkList[] = [];
    const refused: string[] = [];
    for (const file of files) {
      if (found.length === this.#most && this.#most > 0) break;
      try {
        found.push(await this.#read(file));
      } catch (error) {
        refused.push(messageOf(error));
      }
    }
    const [first, ...more] = found;
    if (first !== undefined && (refused.length === 0 || this.#most === 1)) return [first, ...more];
    throw new BerthError(
      'failed_precondition',
      refused.length > 0
        ? `no usable CNI configuration in ${this.path}: ${refused.join('; ')}`
        : `no CNI configuration in ${this.path}: install a network plugin, or put a .conflist file there`,
    );
  }

  async #files(): Promise<string[]> {
    try {
      const names = await readdir(this.path);
      return names.filter((name) => extensions.has(extname(name)) && !name.startsWith('.')).sort();
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, `read CNI configuration directory ${this.path}`);
      throw new BerthError(
        'failed_precondition',
        `CNI configuration directory ${this.path} doesn't exist: install a network plugin, or set cni.conf_dir`,
        { cause: error },
      );
    }
  }

  async #read(name: string): Promise<NetworkList> {
    const path = join(this.path, name);
    const info = await stat(path, { bigint: true });
    const stamp = `${info.ino} ${info.size} ${info.mtimeNs}`;
    const cached = this.#cached.get(name);
    const list = cached?.stamp === stamp ? cached.list : parseNetworkList(await readFile(path, 'utf8'), path);
    this.#cached.set(name, { stamp, list });
    if (list.loadOnlyInlinedPlugins) return list;
    const whole = withPluginFiles(list, await this.#pluginFiles(list.name));
    if (whole.plugins.length > 0) return whole;
    throw new BerthError(
      'failed_precondition',
      `CNI configuration ${path} lists no plugins, and ${join(this.path, list.name)} has no .conf files with any`,
    );
  }

  /** Plugins that were put beside a list: `<dir>/NETWORK/*.conf`, text by path. */
  async #pluginFiles(network: string): Promise<Map<string, string>> {
    const dir = join(this.path, network);
    const names = await readdir(dir).catch((error: unknown) => {
      if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw BerthError.from(error, `read ${dir}`);
    });
    const paths = names.filter((name) => extname(name) === '.conf').map((name) => join(dir, name));
    const entries = paths.sort().map(async (path) => [path, await readFile(path, 'utf8')] as const);
    return new Map(await Promise.all(entries));
  }
}
