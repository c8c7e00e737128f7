import { BerthError, isCode, messageOf } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { version } from '#common/version.ts';
import type { CdiInjector } from '../cdi/injector.ts';
import type { Container } from '../store/container.ts';
import type { ContainerMetadata } from '../store/records.ts';
import type { Sandbox } from '../store/sandbox.ts';
import { adjustSpec } from './adjust-spec.ts';
import { Claims } from './claims.ts';
import { describeContainer, describeNewContainer, describePod } from './describe.ts';
import type { NriEvent, NriIn, NriOut } from './messages.ts';
import type { NriPlugin, PluginIdentity } from './plugin.ts';

/** What plugins may do to the runtime, and what they are told when they come. */
export interface NriHost {
  snapshot(): Promise<{ pods: NriIn<'PodSandbox'>[]; containers: NriIn<'Container'>[] }>;
  /** @throws not_found; what the OCI runtime says */
  update(update: NriOut<'ContainerUpdate'>): Promise<void>;
  evict(eviction: NriOut<'ContainerEviction'>): Promise<void>;
}

type PodEvent = 'RunPodSandbox' | 'UpdatePodSandbox' | 'PostUpdatePodSandbox' | 'StopPodSandbox' | 'RemovePodSandbox';
type ContainerEvent =
  | 'PostCreateContainer'
  | 'StartContainer'
  | 'PostStartContainer'
  | 'PostUpdateContainer'
  | 'RemoveContainer';
type Changes = Partial<Pick<NriOut<'CreateContainerResponse'>, 'update' | 'evict'>>;

/**
 * The connected plugins of the Node Resource Interface, in the order of their indices. A plugin that doesn't answer in
 * time misses that one event; an error that it answers fails the operation where it can still be taken back.
 */
export class Nri {
  readonly #log: Logger;
  readonly #required: readonly string[];
  readonly #host: () => NriHost;
  #plugins: NriPlugin[] = [];
  /** Operations that make pods and containers. */
  readonly #operations = new Set<Promise<unknown>>();
  #gate: Promise<void> | undefined;
  #introducing: Promise<void> = Promise.resolve();

  /** @param required names of plugins without which no container is made */
  constructor(log: Logger, required: readonly string[], host: () => NriHost) {
    this.#log = log;
    this.#required = required;
    this.#host = host;
  }

  /**
   * Runs an operation that makes a pod or container. None runs while a plugin is told what is there, so that it learns
   * of each object exactly once.
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    while (this.#gate !== undefined) await this.#gate;
    const running = work();
    this.#operations.add(running);
    try {
      return await running;
    } finally {
      this.#operations.delete(running);
    }
  }

  /** Takes a plugin in that has connected; one that isn't fit is logged and cut off. */
  async adopt(plugin: NriPlugin, configOf: (identity: PluginIdentity) => Promise<string>): Promise<void> {
    try {
      await plugin.start(version, configOf);
      plugin.onClose(() => this.#drop(plugin));
      const introduced = this.#introducing.then(() => this.#introduce(plugin));
      this.#introducing = introduced.catch(() => undefined);
      await introduced;
      this.#log.info({ plugin: plugin.id }, 'NRI plugin connected');
    } catch (error) {
      this.#log.warn({ plugin: plugin.id, err: error }, `NRI plugin refused: ${messageOf(error)}`);
      this.#drop(plugin);
      plugin.close();
    }
  }

  close(): void {
    for (const plugin of this.#plugins) plugin.close();
  }

  /** @throws what the first plugin answers that objects */
  async podEvent<E extends PodEvent>(event: E, sandbox: Sandbox, more: object = {}): Promise<void> {
    for (const plugin of this.#subscribers(event)) {
      await this.#call(plugin, event, { pod: describePod(sandbox), ...more } as NriIn<`${E}Request`>);
    }
  }

  /** @throws what the first plugin answers that objects */
  async containerEvent<E extends ContainerEvent>(
    event: E,
    pod: Sandbox | undefined,
    container: Container,
    spec: () => Promise<RuntimeSpec>,
  ): Promise<void> {
    const subscribers = this.#subscribers(event);
    if (subscribers.length === 0 || pod === undefined) return;
    const request = { pod: describePod(pod), container: describeContainer(container, await spec()) };
    for (const plugin of subscribers) await this.#call(plugin, event, request as NriIn<`${E}Request`>);
  }

  /**
   * Lets plugins change the spec of a container that is being made, each on top of those before it, and then asks those
   * that check. What they ask of other containers is done at once.
   *
   * @throws failed_precondition for a missing required plugin, a conflict or a refusal; what a plugin answers.
   */
  async createContainer(pod: Sandbox, metadata: ContainerMetadata, spec: RuntimeSpec, cdi: CdiInjector): Promise<void> {
    const missing = this.#required.find((name) => !this.#plugins.some((plugin) => plugin.identity.name === name));
    if (missing !== undefined) {
      throw new BerthError('failed_precondition', `required NRI plugin "${missing}" is not connected`);
    }
    const subscribers = this.#subscribers('CreateContainer');
    const validators = this.#subscribers('ValidateContainerAdjustment');
    if (subscribers.length + validators.length === 0) return;
    const claims = new Claims();
    const original = describeNewContainer(metadata, spec);
    const adjustments: NriOut<'ContainerAdjustment'>[] = [];
    const changes: Changes[] = [];
    const targets = new Claims();
    for (const plugin of subscribers) {
      const request = { pod: describePod(pod), container: describeNewContainer(metadata, spec) };
      const response = await this.#call(plugin, 'CreateContainer', request);
      if (response === undefined) continue;
      if (response.adjust != null) {
        await adjustSpec(spec, response.adjust, { claims, plugin: plugin.id, cdi });
        adjustments.push(response.adjust);
      }
      for (const { containerId } of response.update) targets.take(`resources of ${containerId}`, plugin.id);
      changes.push(response);
    }
    const plugins = this.#plugins.map(({ identity }) => identity);
    for (const validator of validators) {
      const answer = await this.#call(validator, 'ValidateContainerAdjustment', {
        pod: describePod(pod),
        container: original,
        adjust: mergeAdjustments(adjustments),
        update: changes.flatMap(({ update = [] }) => update),
        plugins,
      });
      if (answer?.reject !== true) continue;
      throw new BerthError('failed_precondition', `NRI plugin ${validator.id} refuses the container: ${answer.reason}`);
    }
    for (const change of changes) await this.#apply(change, true);
  }

  /** Asks plugins about new limits; answers what they change of them. @throws what a plugin answers */
  async updateContainer(
    pod: Sandbox | undefined,
    container: Container,
    spec: RuntimeSpec,
    resources: NriIn<'LinuxResources'>,
  ): Promise<NriOut<'LinuxResources'>[]> {
    if (pod === undefined) return [];
    const own: NriOut<'LinuxResources'>[] = [];
    for (const plugin of this.#subscribers('UpdateContainer')) {
      const request = {
        pod: describePod(pod),
        container: describeContainer(container, spec),
        linuxResources: resources,
      };
      const response = await this.#call(plugin, 'UpdateContainer', request);
      if (response === undefined) continue;
      for (const { containerId, linux } of response.update) {
        if (containerId === container.id && linux?.resources != null) own.push(linux.resources);
      }
      // In the background: the caller has the container's turn, which another container's change may wait for.
      const update = response.update.filter(({ containerId }) => containerId !== container.id);
      void this.#apply({ update, evict: response.evict }, false);
    }
    return own;
  }

  /** A container has ended. Failures are logged: nothing can be taken back. */
  async stopContainer(pod: Sandbox | undefined, container: Container, spec: () => Promise<RuntimeSpec>): Promise<void> {
    const subscribers = this.#subscribers('StopContainer');
    if (subscribers.length === 0 || pod === undefined) return;
    const request = { pod: describePod(pod), container: describeContainer(container, await spec()) };
    for (const plugin of subscribers) {
      const response = await this.told('StopContainer', this.#call(plugin, 'StopContainer', request));
      void this.#apply({ update: response?.update ?? [] }, false);
    }
  }

  /** For events after the fact: what plugins object to is logged. */
  async told<T>(event: NriEvent, call: Promise<T>): Promise<T | undefined> {
    try {
      return await call;
    } catch (error) {
      this.#log.warn({ err: error }, `NRI plugins could not handle ${event}: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** UpdateContainers, which a plugin calls by itself. Answers what couldn't be done. */
  async unsolicited(request: NriOut<'UpdateContainersRequest'>): Promise<NriIn<'UpdateContainersResponse'>> {
    return { failed: await this.#apply(request, false) };
  }

  /** Whether any plugin wants to hear of an event. */
  concerns(event: NriEvent): boolean {
    return this.#subscribers(event).length > 0;
  }

  #subscribers(event: NriEvent): NriPlugin[] {
    return this.#plugins.filter((plugin) => plugin.subscribed(event));
  }

  async #call<E extends NriEvent>(plugin: NriPlugin, event: E, request: NriIn<`${E}Request`>) {
    try {
      return await plugin.call(event, request);
    } catch (error) {
      const late = isCode(error, 'deadline_exceeded');
      const needed = event === 'CreateContainer' && this.#required.includes(plugin.identity.name);
      if ((!late && !isCode(error, 'unavailable')) || needed) throw BerthError.from(error, `NRI plugin ${plugin.id}`);
      this.#log.warn({ plugin: plugin.id, event }, late ? 'NRI plugin missed an event' : 'NRI plugin has gone');
      return undefined;
    }
  }

  async #introduce(plugin: NriPlugin): Promise<void> {
    const gate = Promise.withResolvers<void>();
    this.#gate = gate.promise;
    try {
      await Promise.allSettled([...this.#operations]);
      const { pods, containers } = await this.#host().snapshot();
      // From now on it hears of events, which wait until it is synchronized.
      this.#plugins = [...this.#plugins, plugin].sort((a, b) => (a.id < b.id ? -1 : 1));
      const update = await plugin.synchronize(pods, containers);
      void this.#apply({ update: [...update] }, false);
    } finally {
      this.#gate = undefined;
      gate.resolve();
    }
  }

  #drop(plugin: NriPlugin): void {
    if (!this.#plugins.includes(plugin)) return;
    this.#plugins = this.#plugins.filter((other) => other !== plugin);
    plugin.close();
    this.#log.info({ plugin: plugin.id }, 'NRI plugin disconnected');
  }

  /** Answers the updates that failed. @throws the first failure that the plugin doesn't tolerate, if `strict` */
  async #apply({ update = [], evict = [] }: Changes, strict: boolean): Promise<NriOut<'ContainerUpdate'>[]> {
    const failed: NriOut<'ContainerUpdate'>[] = [];
    for (const change of update) {
      try {
        await this.#host().update(change);
      } catch (error) {
        if (strict && !change.ignoreFailure) throw error;
        this.#log.warn({ id: change.containerId, err: error }, 'could not update a container for an NRI plugin');
        if (!change.ignoreFailure) failed.push(change);
      }
    }
    for (const eviction of evict) {
      const { containerId: id, reason } = eviction;
      this.#log.info({ id, reason }, 'an NRI plugin evicts a container');
      void this.#host()
        .evict(eviction)
        .catch((error: unknown) => this.#log.warn({ id, err: error }, 'could not evict a container'));
    }
    return failed;
  }
}

/** All adjustments as one: lists one after another, of single values the last. */
function mergeAdjustments(adjustments: readonly NriOut<'ContainerAdjustment'>[]): NriIn<'ContainerAdjustment'> {
  return adjustments.reduce<object>(merge, {}) as NriIn<'ContainerAdjustment'>;
}

function merge(first: object, second: object): object {
  const result: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second) as [string, unknown][]) {
    const held = result[key];
    if (value === null || value === '') continue;
    if (Array.isArray(held) && Array.isArray(value))
      result[key] = key === 'args' && value.length > 0 ? value : [...held, ...value];
    else if (isObject(held) && isObject(value)) result[key] = merge(held, value);
    else result[key] = value;
  }
  return result;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
