import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '#common/atomic-file.ts';
import { BerthError } from '#common/errors.ts';
import { makeDirectories } from '#common/make-directories.ts';
import { hasErrno } from '#common/node-error.ts';
import type { CniResult } from './result.ts';

/** An attachment as libcni writes it down, so that other tools can read ours and we theirs. */
export interface CachedAttachment {
  readonly kind: 'cniCacheV1';
  readonly containerId: string;
  /** Base64 of the network list's text. */
  readonly config: string;
  readonly ifName: string;
  readonly networkName: string;
  readonly netns?: string;
  readonly cniArgs?: readonly (readonly [string, string])[];
  readonly capabilityArgs?: Readonly<Record<string, unknown>>;
  /** Missing until ADD has succeeded. */
  readonly result?: CniResult;
}

/** The end of an attachment's file name: container and interface. */
const attachmentName = /-([0-9a-f]{64})-(eth\d+)$/;

/** Results of ADD by network, container and interface: `<dir>/results/NETWORK-CONTAINER-INTERFACE`. */
export class ResultCache {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = join(dir, 'results');
  }

  async write(attachment: CachedAttachment): Promise<void> {
    makeDirectories(this.#dir, 0o700);
    const { networkName, containerId, ifName } = attachment;
    await writeAtomic(join(this.#dir, `${networkName}-${containerId}-${ifName}`), JSON.stringify(attachment), {
      mode: 0o600,
    });
  }

  /** Every attachment of a container, by interface, whatever its network was called. */
  async find(containerId: string): Promise<CachedAttachment[]> {
    const names = (await this.#names()).filter((name) => attachmentName.exec(name)?.[1] === containerId);
    const found = await Promise.all(names.map((name) => this.#read(name)));
    const order = new Intl.Collator('en', { numeric: true });
    return found.filter((entry) => entry !== undefined).sort((a, b) => order.compare(a.ifName, b.ifName));
  }

  /** Containers that have attachments, and the interfaces that these go by. */
  async attached(): Promise<{ readonly containerIds: ReadonlySet<string>; readonly interfaces: ReadonlySet<string> }> {
    const parts = (await this.#names()).map((name) => attachmentName.exec(name) ?? []);
    const column = (index: number) => new Set(parts.map((part) => part[index]).filter((text) => text !== undefined));
    return { containerIds: column(1), interfaces: column(2) };
  }

  async remove(attachment: Pick<CachedAttachment, 'networkName' | 'containerId' | 'ifName'>): Promise<void> {
    const { networkName, containerId, ifName } = attachment;
    await rm(join(this.#dir, `${networkName}-${containerId}-${ifName}`), { force: true });
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#dir);
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return [];
      throw BerthError.from(error, `read CNI results in ${this.#dir}`);
    }
  }

  async #read(name: string): Promise<CachedAttachment | undefined> {
    try {
      const parsed: unknown = JSON.parse(await readFile(join(this.#dir, name), 'utf8'));
      if (typeof parsed === 'object' && parsed !== null && 'kind' in parsed && parsed.kind === 'cniCacheV1') {
        return parsed as CachedAttachment;
      }
    } catch {
      // Gone meanwhile, or torn by a power loss: DEL does without it.
    }
    return undefined;
  }
}
