import { statfsSync } from 'node:fs';
import { messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { allSettled } from '../all-settled.ts';
import type { ConfigDir } from './config-dir.ts';
import { hasStatus, type NetworkList, type PluginConfig, parseNetworkList } from './network-list.ts';
import type { CniCommand, PluginRunner } from './plugin.ts';
import { asResult, type CniResult } from './result.ts';
import type { CachedAttachment, ResultCache } from './result-cache.ts';

/** Of nsfs, which pinned namespaces are files of (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;

/** The interface that every pod has, of its first network. */
export const podInterface = interfaceOf(0);

/** A pod that is to be attached to the node's networks. */
export interface Attachment {
  readonly containerId: string;
  /** Runtime handler: some have networks of their own. */
  readonly handler: string;
  readonly netns: string;
  readonly args: readonly (readonly [string, string])[];
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

export interface PodNetworkOptions {
  readonly configs: ConfigDir;
  /** By runtime handler, where that has a directory of its own. */
  readonly handlerConfigs?: ReadonlyMap<string, ConfigDir>;
  readonly plugins: PluginRunner;
  readonly cache: ResultCache;
  /** A pod's networks one after the other, for plugins that can't do two at once. */
  readonly serially?: boolean;
}

/** The networks of the node's pods, as CNI plugins make them. */
export class PodNetwork {
  readonly #options: PodNetworkOptions;
  readonly #plugins: PluginRunner;
  readonly #cache: ResultCache;
  #collecting: Promise<void> = Promise.resolve();

  constructor(options: PodNetworkOptions) {
    this.#options = options;
    this.#plugins = options.plugins;
    this.#cache = options.cache;
  }

  /** Runtime handlers that have networks of their own. */
  get handlers(): string[] {
    return [...(this.#options.handlerConfigs?.keys() ?? [])];
  }

  /** Why pods can't be attached now; undefined when they can. */
  async unready(handler = ''): Promise<string | undefined> {
    try {
      for (const list of await this.ready(handler)) {
        if (hasStatus(list)) for (const plugin of list.plugins) await this.#ask('STATUS', list, plugin, {});
      }
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
    const { configs, handlerConfigs } = this.#options;
    const failures: unknown[] = [];
    for (const dir of new Set([configs, ...(handlerConfigs?.values() ?? [])])) {
      const lists = await dir.load().catch(() => []);
      // A pod may have been attached when there were other networks, under other names: all that are used count.
      const names = new Set([
        ...lists.map((_, index) => interfaceOf(index)),
        ...(await this.#cache.attached()).interfaces,
      ]);
      const attachments = valid.flatMap((containerID) => [...names].map((ifname) => ({ containerID, ifname })));
      // The first release of the specification's text had the second name.
      const keys = { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments };
      for (const list of lists) {
        if (list.disableGC || !hasStatus(list)) continue;
        for (const plugin of list.plugins) {
          await this.#ask('GC', list, plugin, keys).catch((error: unknown) => failures.push(error));
        }
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** A handler's networks, with all their plugins in place. @throws failed_precondition naming what is missing. */
  async ready(handler = ''): Promise<[NetworkList, ...NetworkList[]]> {
    const lists = await this.#configsOf(handler).load();
    // One after the other: of several that are missing, the first of the chain is named.
    for (const { type } of lists.flatMap(({ plugins }) => plugins)) await this.#plugins.find(type);
    return lists;
  }

  async #currentLists({ handler }: Attachment): Promise<readonly NetworkList[]> {
    return await this.#configsOf(handler)
      .load()
      .catch(() => []);
  }

  #configsOf(handler: string): ConfigDir {
    return this.#options.handlerConfigs?.get(handler) ?? this.#options.configs;
  }

  /**
   * Attaches a pod to its networks: to the first with `eth0`, to the second with `eth1`, and so on. After a failure
   * `detach` must follow: some of the work may have been done.
   *
   * @returns the networks' results, in their order
   * @throws failed_precondition for a missing configuration or plugin; else what the plugin reports.
   */
  async attach(attachment: Attachment): Promise<[CniResult, ...CniResult[]]> {
    await this.#collecting;
    const [first, ...more] = await this.ready(attachment.handler);
    const attachTo = (list: NetworkList, index: number) => this.#attachTo(list, interfaceOf(index), attachment);
    if (!this.#options.serially) {
      const [result, ...others] = await allSettled([
        attachTo(first, 0),
        ...more.map((list, i) => attachTo(list, i + 1)),
      ]);
      return [result, ...others];
    }
    const results: [CniResult, ...CniResult[]] = [await attachTo(first, 0)];
    for (const list of more) results.push(await attachTo(list, results.length));
    return results;
  }

  /** The record comes before ADD, so that a crash meanwhile leaves nothing that nobody knows of. */
  async #attachTo(list: NetworkList, ifName: string, attachment: Attachment): Promise<CniResult> {
    const record = {
      kind: 'cniCacheV1',
      containerId: attachment.containerId,
      config: Buffer.from(list.source).toString('base64'),
      ifName,
      networkName: list.name,
      netns: attachment.netns,
      cniArgs: attachment.args,
      capabilityArgs: attachment.capabilityArgs,
    } as const;
    await this.#cache.write(record);
    let printed: unknown;
    for (const plugin of list.plugins) printed = await this.#run('ADD', list, plugin, ifName, attachment, printed);
    const result = asResult(printed, list.name);
    await this.#cache.write({ ...record, result });
    return result;
  }

  /**
   * Detaches a pod; one that isn't attached is no error. It uses the configurations that the pod was attached with,
   * whatever has become of the files since.
   *
   * @throws what a plugin reports; the attachment is then still on record, for another try.
   */
  async detach(attachment: Attachment): Promise<void> {
    const cached = await this.#cache.find(attachment.containerId);
    if (cached.length === 0) {
      // Nothing on record: a power loss may have taken it, and then today's configuration is the best guess.
      const lists = await this.#currentLists(attachment);
      const guesses = lists.map(
        (list, index) => () => this.#detachFrom(list, interfaceOf(index), attachment, undefined),
      );
      return await eachInTurn(guesses.toReversed());
    }
    const isUnfinished = cached.some(({ result }) => result === undefined);
    const current = isUnfinished ? await this.#currentLists(attachment) : [];
    const known = cached.map((entry) => async () => {
      await this.#detachFrom(listOf(entry, current), entry.ifName, attachment, entry);
      await this.#cache.remove(entry);
    });
    await eachInTurn(known.toReversed());
  }

  /**
   * Asks the plugins whether a pod is still attached as recorded (CHECK, from 0.4.0 on).
   *
   * @throws what the first dissatisfied plugin reports.
   */
  async check(attachment: Attachment): Promise<void> {
    for (const entry of await this.#cache.find(attachment.containerId)) {
      const list = recordedList(entry);
      if (list.disableCheck || list.cniVersion.startsWith('0.3.')) continue;
      for (const plugin of list.plugins) {
        await this.#run('CHECK', list, plugin, entry.ifName, attachment, entry.result);
      }
    }
  }

  /** Ids of all pods with an attachment on record. */
  async attachedIds(): Promise<string[]> {
    return [...(await this.#cache.attached()).containerIds];
  }

  async #detachFrom(
    list: NetworkList,
    ifName: string,
    attachment: Attachment,
    entry: CachedAttachment | undefined,
  ): Promise<void> {
    const target = {
      ...attachment,
      // Plugins take an empty path as "the namespace is gone": addresses are still given back.
      netns: isNamespace(attachment.netns) ? attachment.netns : '',
      args: entry?.cniArgs ?? attachment.args,
      capabilityArgs: entry?.capabilityArgs ?? attachment.capabilityArgs,
    };
    for (const plugin of list.plugins.toReversed()) {
      await this.#run('DEL', list, plugin, ifName, target, entry?.result);
    }
  }

  async #run(
    command: CniCommand,
    list: NetworkList,
    plugin: PluginConfig,
    ifName: string,
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
      pod: { containerId, netns, ifName, args },
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

/**
 * What an attachment is undone with: the configuration of the time. Where ADD didn't succeed, that may be why, so today's
 * of the same network goes before.
 */
function listOf(entry: CachedAttachment, current: readonly NetworkList[]): NetworkList {
  const corrected = entry.result === undefined && current.find(({ name }) => name === entry.networkName);
  return corrected || recordedList(entry);
}

function recordedList({ config, containerId }: CachedAttachment): NetworkList {
  return parseNetworkList(Buffer.from(config, 'base64').toString(), `of ${containerId}`);
}

/** By the networks' order, as containerd counts them. */
function interfaceOf(index: number): string {
  return `eth${index}`;
}

/** All of them, whatever fails; then throws the first failure. */
async function eachInTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
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
