import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { BerthError, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ContainerEdits, SpecDocument } from './spec-document.ts';

/** A device, and the edits that all devices of its file have in common. */
export interface CdiDevice {
  readonly edits: ContainerEdits;
  /** Path of the file that defines it. */
  readonly file: string;
  readonly common: ContainerEdits;
}

interface SpecFile {
  readonly path: string;
  /** Place of the directory in the configuration; a later one counts more. */
  readonly priority: number;
  readonly spec?: SpecDocument;
  /** Why it can't be used. */
  readonly fault?: string;
}

interface Definition extends CdiDevice {
  readonly priority: number;
  /** Another file of the same priority that defines the device too. */
  readonly rival?: string;
}

/** The directories with CDI specifications. They are looked at anew for each question. */
export class SpecDirectories {
  readonly #directories: readonly string[];
  readonly #read = new Map<string, { readonly stamp: string; readonly file: SpecFile }>();

  constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  /**
   * The devices of these names. Of a device in several directories the one in the last counts.
   *
   * @throws failed_precondition naming each device that isn't there, or that two files of one directory define, and the
   * files that can't be read.
   */
  async devices(names: readonly string[]): Promise<CdiDevice[]> {
    const files = await this.#files();
    const known = new Map<string, Definition>();
    for (const { path: file, priority, spec } of files) {
      for (const { name, containerEdits: edits } of spec?.devices ?? []) {
        const qualified = `${spec?.kind}=${name}`;
        const held = known.get(qualified);
        const rival = held?.priority === priority ? { rival: held.file } : {};
        known.set(qualified, { edits, file, common: spec?.containerEdits ?? edits, priority, ...rival });
      }
    }
    const refused = names.flatMap((name) => {
      const found = known.get(name);
      if (found === undefined) return [`${name} is in none of ${this.#directories.join(', ')}`];
      return found.rival === undefined ? [] : [`${name} is defined by both ${found.rival} and ${found.file}`];
    });
    if (refused.length > 0) {
      const faults = files.flatMap(({ fault }) => fault ?? []);
      throw new BerthError('failed_precondition', `CDI devices can't be used: ${[...refused, ...faults].join('; ')}`);
    }
    return names.flatMap((name) => known.get(name) ?? []);
  }

  async #files(): Promise<SpecFile[]> {
    const lists = await Promise.all(this.#directories.map((directory, at) => this.#filesIn(directory, at)));
    const files = lists.flat();
    const paths = new Set(files.map(({ path }) => path));
    for (const path of this.#read.keys()) if (!paths.has(path)) this.#read.delete(path);
    return files;
  }

  async #filesIn(directory: string, priority: number): Promise<SpecFile[]> {
    let names: string[];
    try {
      names = await readdir(directory);
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return [];
      return [{ path: directory, priority, fault: `${directory}: ${messageOf(error)}` }];
    }
    const paths = names.filter((name) => ['.json', '.yaml'].includes(extname(name))).sort();
    const files = await Promise.all(paths.map((name) => this.#file(join(directory, name), priority)));
    return files.filter((file) => file !== undefined);
  }

  /** undefined for what isn't a file, or not any more. */
  async #file(path: string, priority: number): Promise<SpecFile | undefined> {
    try {
      const info = await stat(path, { bigint: true });
      if (!info.isFile()) return undefined;
      const stamp = `${info.ino} ${info.size} ${info.mtimeNs}`;
      const held = this.#read.get(path);
      if (held?.stamp === stamp) return held.file;
      const file = await readSpecFile(path, priority);
      this.#read.set(path, { stamp, file });
      return file;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return undefined;
      return { path, priority, fault: `${path}: ${messageOf(error)}` };
    }
  }
}

async function readSpecFile(path: string, priority: number): Promise<SpecFile> {
  const content = await readFile(path, 'utf8');
  // Loaded with the first file: most nodes have none.
  const { parseSpec } = await import('./parse-spec.ts');
  try {
    return { path, priority, spec: parseSpec(content, path) };
  } catch (error) {
    return { path, priority, fault: messageOf(error) };
  }
}
