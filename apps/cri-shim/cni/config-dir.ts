import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { BerthError, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { type NetworkList, parseNetworkList, withPluginFiles } from './network-list.ts';

const extensions = new Set(['.conf', '.conflist', '.json']);

/** The directory where network plugins put their configuration. It is looked at anew for each question. */
export class ConfigDir {
  readonly path: string;
  #cached: { readonly stamp: string; readonly list: NetworkList } | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * The node's network: the first usable file by name.
   *
   * @throws failed_precondition naming the directory, and each file that can't be used.
   */
  async load(): Promise<NetworkList> {
    const files = await this.#files();
    const refused: string[] = [];
    for (const file of files) {
      try {
        return await this.#read(file);
      } catch (error) {
        refused.push(messageOf(error));
      }
    }
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
    const stamp = `${name} ${info.ino} ${info.size} ${info.mtimeNs}`;
    if (this.#cached?.stamp !== stamp) {
      this.#cached = { stamp, list: parseNetworkList(await readFile(path, 'utf8'), path) };
    }
    const { list } = this.#cached;
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
