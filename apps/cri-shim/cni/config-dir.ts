import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { BerthError, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { type NetworkList, parseNetworkList } from './network-list.ts';

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
    if (this.#cached?.stamp === stamp) return this.#cached.list;
    const list = parseNetworkList(await readFile(path, 'utf8'), path);
    this.#cached = { stamp, list };
    return list;
  }
}
