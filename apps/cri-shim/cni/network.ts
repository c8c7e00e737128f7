import { statfsSync } from 'node:fs';
import { messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ConfigDir } from './config-dir.ts';
import { hasStatus, type NetworkList, type PluginConfig, parseNetworkList } from './network-list.ts';
import type { CniCommand, PluginRunner } from './plugin.ts';
import { asResult, type CniResult } from './result.ts';
import type { CachedAttachment, ResultCache } from './result-cache.ts';

/** Of nsfs, which pinned namespaces are files of (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;

/** The interface of every pod. */
export const podInterface = 'eth0';

/** A pod that is to be attached to the node's network. */
export interface Attachment {
  readonly containerId: string;
  readonly netns: string;
  readonly args: readonly (readonly [string, string])[];
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

/** The node's pod network, as CNI plugins make it. */
export class PodNetwork {
  readonly #configs: ConfigDir;
  readonly #plugins: PluginRunner;
  readonly #cache: ResultCache;
  #collecting: Promise<void> = Promise.resolve();

  constructor(configs: ConfigDir, plugins: PluginRunner, cache: ResultCache) {
    this.#configs = configs;
    this.#plugins = plugins;
    this.#cache = cache;
  }

  /** Why pods can't be attached now; undefined when they can. */
  async unready(): Promise<string | undefined> {
    try {
      const list = await this.ready();
      if (hasStatus(list)) for (const plugin of list.plugins) await this.#ask('STATUS', list, plugin, {});
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  /**
   * Lets the plugins give back what belongs to no pod that is there (GC, from 1.1.0 on). Pods are attached after it,
   * never meanwhile: a plugin would take a new one's addresses away.
   *
   * @param valid ids of all pods that are attached, or about to be
   * @throws what the first plugin reports that couldn't
   */
  async collect(valid: readonly string[]): Promise<void> {
    const run = this.#collect(valid);
    this.#collecting = run.catch(() => undefined);
    await run;
  }

  async #collect(valid: readonly string[]): Promise<void> {
    const list = await this.#configs.load().catch(() => undefined);
    if (list === undefined || list.disableGC || !hasStatus(list)) return;
    const attachments = valid.map((containerID) => ({ containerID, ifname: podInterface }));
    // The first release of the specification's text had the second name.
    const keys = { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments };
    const failures: unknown[] = [];
    for (const plugin of list.plugins) {
      await this.#ask('GC', list, plugin, keys).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  /** The network, with all its plugins in place. @throws failed_precondition naming what is missing. */
  async ready(): Promise<NetworkList> {
    const list = await this.#configs.load();
    // One after the other: of several that are missing, the first of the chain is named.
    for (const { type } of list.plugins) await this.#plugins.find(type);
    return list;
  }

  /**
   * Attaches a pod. After a failure `detach` must follow: plugins of a chain may have done part of the work.
   *
   * @throws failed_precondition for a missing configuration or plugin; else what the plugin reports.
   */
  async attach(attachment: Attachment): Promise<CniResult> {
    await this.#collecting;
    const list = await this.ready();
    let result: unknown;
    for (const plugin of list.plugins) {
      result = await this.#run('ADD', list, plugin, attachment, result);
    }
    const checked = asResult(result, list.name);
    await this.#cache.write({
      kind: 'cniCacheV1',
      containerId: attachment.containerId,
      config: Buffer.from(list.source).toString('base64'),
      ifName: podInterface,
      networkName: list.name,
      netns: attachment.netns,
      cniArgs: attachment.args,
      capabilityArgs: attachment.capabilityArgs,
      result: checked,
    });
    return checked;
  }

  /**
   * Detaches a pod; one that isn't attached is no error. It uses the configuration that the pod was attached with,
   * whatever has become of the file since.
   *
   * @throws what a plugin reports; the attachment is then still on record, for another try.
   */
  async detach(attachment: Attachment): Promise<void> {
    const cached = await this.#cache.find(attachment.containerId, podInterface);
    if (cached.length === 0) {
      // Nothing on record: ADD may have been cut short, and then today's configuration is the best guess.
      const list = await this.#configs.load().catch(() => undefined);
      if (list !== undefined) await this.#detachFrom(list, attachment, undefined);
      return;
    }
    for (const entry of cached) {
      const list = parseNetworkList(Buffer.from(entry.config, 'base64').toString(), `of ${entry.containerId}`);
      await this.#detachFrom(list, attachment, entry);
      await this.#cache.remove(entry);
    }
  }

  /**
   * Asks the plugins whether a pod is still attached as recorded (CHECK, from 0.4.0 on).
   *
   * @throws what the first dissatisfied plugin reports.
   */
  async check(attachment: Attachment): Promise<void> {
    for (const entry of await this.#cache.find(attachment.containerId, podInterface)) {
      const list = parseNetworkList(Buffer.from(entry.config, 'base64').toString(), `of ${entry.containerId}`);
      if (list.disableCheck || list.cniVersion.startsWith('0.3.')) continue;
      for (const plugin of list.plugins) await this.#run('CHECK', list, plugin, attachment, entry.result);
    }
  }

  /** Ids of all pods with an attachment on record. */
  async attachedIds(): Promise<string[]> {
    return await this.#cache.containerIds(podInterface);
  }

  async #detachFrom(list: NetworkList, attachment: Attachment, entry: CachedAttachment | undefined): Promise<void> {
    const target = {
      ...attachment,
      // Plugins take an empty path as "the namespace is gone": addresses are still given back.
      netns: isNamespace(attachment.netns) ? attachment.netns : '',
      args: entry?.cniArgs ?? attachment.args,
      capabilityArgs: entry?.capabilityArgs ?? attachment.capabilityArgs,
    };
    for (const plugin of list.plugins.toReversed()) await this.#run('DEL', list, plugin, target, entry?.result);
  }

  async #run(
    command: CniCommand,
    list: NetworkList,
    plugin: PluginConfig,
    attachment: Attachment,
    prevResult: unknown,
  ): Promise<unknown> {
    const runtimeConfig = Object.fromEntries(
      Object.entries(attachment.capabilityArgs).filter(([name]) => plugin.capabilities?.[name] === true),
    );
    const { containerId, netns, args } = attachment;
    return await this.#plugins.run({
      type: plugin.type,
      command,
      pod: { containerId, netns, ifName: podInterface, args },
      input: executionConfig(list, plugin, {
        ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
        ...(prevResult === undefined ? {} : { prevResult }),
      }),
    });
  }

  async #ask(command: 'GC' | 'STATUS', list: NetworkList, plugin: PluginConfig, keys: object): Promise<void> {
    await this.#plugins.run({ type: plugin.type, command, input: executionConfig(list, plugin, keys) });
  }
}

/** What a plugin reads: its part of the list, under the list's name and version (CNI specification, section 3). */
function executionConfig(list: NetworkList, plugin: PluginConfig, keys: object): string {
  const { capabilities: _, ...rest } = plugin;
  return JSON.stringify({ ...rest, name: list.name, cniVersion: list.cniVersion, ...keys });
}

/** False also for the plain file that is left when a crash falls between a pin's mount and its file. */
function isNamespace(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}
