import { BerthError, isCode } from '#common/errors.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { handleTyped, unary } from '#common/ttrpc/typed.ts';
import { allEvents, type NriEvent, type NriIn, type NriOut, nriEvents, nriPackage } from './messages.ts';
import { logical, type Multiplexer } from './multiplexer.ts';

export interface PluginLimits {
  /** Milliseconds from the connection to the registration, and again to take in what is there. */
  readonly registration: number;
  /** Milliseconds that a plugin has for one event. */
  readonly request: number;
}

/** A plugin's place in the order and its name. */
export interface PluginIdentity {
  /** Two digits. */
  readonly index: string;
  readonly name: string;
}

type Request<E extends NriEvent> = NriIn<`${E}Request`>;
type Response<E extends NriEvent> = NriOut<`${E}Response`>;
type Updates = readonly NriOut<'ContainerUpdate'>[];

/** What a plugin may ask for outside of events. */
export type UpdateHandler = (request: NriOut<'UpdateContainersRequest'>) => Promise<NriIn<'UpdateContainersResponse'>>;

/** One connected plugin. */
export class NriPlugin {
  readonly #multiplexer: Multiplexer;
  readonly #client: TtrpcClient;
  readonly #limits: PluginLimits;
  readonly #registered = Promise.withResolvers<PluginIdentity>();
  #identity: PluginIdentity = { index: '', name: '' };
  #events = 0;
  /** Events wait until the plugin knows the pods that were there before. */
  #synchronized = Promise.withResolvers<void>();

  /** @param identity of a plugin that this program launched; others say theirs when they register */
  constructor(multiplexer: Multiplexer, limits: PluginLimits, update: UpdateHandler, identity?: PluginIdentity) {
    this.#multiplexer = multiplexer;
    this.#limits = limits;
    this.#client = TtrpcClient.over((events) => multiplexer.open(logical.plugin, () => events), 'an NRI plugin');
    const server = new TtrpcServer();
    const service = `${nriPackage}.Runtime`;
    const { RegisterPluginRequest, UpdateContainersRequest, UpdateContainersResponse, Empty } = names;
    handleTyped(server, service, 'RegisterPlugin', RegisterPluginRequest, Empty, ({ pluginName, pluginIdx }) => {
      this.#registered.resolve(identity ?? checked({ index: pluginIdx, name: pluginName }));
      return {};
    });
    handleTyped(server, service, 'UpdateContainers', UpdateContainersRequest, UpdateContainersResponse, update);
    multiplexer.open(logical.runtime, (socket) => server.accept(socket));
    this.#registered.promise.catch(() => undefined);
    this.#client.onClose(() => this.#registered.reject(new BerthError('unavailable', 'the NRI plugin has gone')));
  }

  get id(): string {
    return `${this.#identity.index}-${this.#identity.name}`;
  }

  get identity(): PluginIdentity {
    return this.#identity;
  }

  onClose(callback: () => void): void {
    this.#client.onClose(callback);
  }

  close(): void {
    this.#multiplexer.close();
    this.#synchronized.resolve();
  }

  subscribed(event: NriEvent): boolean {
    return (this.#events & (1 << (nriEvents[event] - 1))) !== 0;
  }

  /** Waits for the registration, then configures the plugin. @throws what is wrong with it; it is of no use then */
  async start(runtimeVersion: string, configOf: (identity: PluginIdentity) => Promise<string>): Promise<void> {
    const { registration, request } = this.#limits;
    const late = setTimeout(() => {
      this.#registered.reject(new BerthError('deadline_exceeded', `no registration within ${registration} ms`));
    }, registration);
    this.#identity = await this.#registered.promise.finally(() => clearTimeout(late));
    const configure = unary(this.#client, plugins, 'Configure', names.ConfigureRequest, names.ConfigureResponse);
    const { events } = await configure(
      {
        config: await configOf(this.#identity),
        runtimeName: 'berth',
        runtimeVersion,
        registrationTimeout: registration,
        requestTimeout: request,
        nriVersion: '0.12.0',
      },
      { timeoutMs: request },
    );
    if ((events & ~allEvents) !== 0) {
      throw new BerthError('invalid_argument', `plugin ${this.id} subscribes to unknown events: ${events}`);
    }
    this.#events = events === 0 ? allEvents : events;
  }

  /**
   * Tells the plugin what is there; answers the changes that it wants. Messages hold as many objects as fit. A plugin takes
   * longer to look at all of them than at one event, so it has the time of a registration, which this is the end of.
   *
   * @throws deadline_exceeded; unavailable when it has gone
   */
  async synchronize(pods: readonly NriIn<'PodSandbox'>[], containers: readonly NriIn<'Container'>[]): Promise<Updates> {
    const call = unary(this.#client, plugins, 'Synchronize', names.SynchronizeRequest, names.SynchronizeResponse);
    const timeoutMs = Math.max(this.#limits.registration, this.#limits.request);
    const perMessage = 500;
    const rounds = Math.max(1, Math.ceil(pods.length / perMessage), Math.ceil(containers.length / perMessage));
    for (let round = 0; ; round += 1) {
      const part = <T>(list: readonly T[]) => list.slice(round * perMessage, (round + 1) * perMessage);
      const more = round + 1 < rounds;
      const request = { pods: part(pods), containers: part(containers), more };
      const { update } = await call(request, { timeoutMs });
      if (more) continue;
      this.#synchronized.resolve();
      return update;
    }
  }

  /** @throws what the plugin answers; deadline_exceeded; unavailable when it has gone */
  async call<E extends NriEvent>(event: E, request: Request<E>): Promise<Response<E>> {
    await this.#synchronized.promise;
    const types = [`${nriPackage}.${event}Request`, `${nriPackage}.${event}Response`] as const;
    const call = unary(this.#client, plugins, event, types[0], types[1]);
    const options = { timeoutMs: this.#limits.request };
    try {
      return (await call(request, options)) as Response<E>;
    } catch (error) {
      if (!isCode(error, 'unimplemented')) throw error;
      // An older plugin has one method for all events that nothing is answered to.
      const stateChange = unary(this.#client, plugins, 'StateChange', names.StateChangeEvent, names.Empty);
      await stateChange({ ...request, event: nriEvents[event] }, options);
      return {} as Response<E>;
    }
  }
}

const plugins = `${nriPackage}.Plugin`;

const names = {
  Empty: `${nriPackage}.Empty`,
  RegisterPluginRequest: `${nriPackage}.RegisterPluginRequest`,
  UpdateContainersRequest: `${nriPackage}.UpdateContainersRequest`,
  UpdateContainersResponse: `${nriPackage}.UpdateContainersResponse`,
  ConfigureRequest: `${nriPackage}.ConfigureRequest`,
  ConfigureResponse: `${nriPackage}.ConfigureResponse`,
  SynchronizeRequest: `${nriPackage}.SynchronizeRequest`,
  SynchronizeResponse: `${nriPackage}.SynchronizeResponse`,
  StateChangeEvent: `${nriPackage}.StateChangeEvent`,
} as const;

/** @throws invalid_argument; the index orders plugins, and both make up the name of a drop-in file. */
export function checked({ index, name }: PluginIdentity): PluginIdentity {
  if (!/^\d\d$/.test(index)) {
    throw new BerthError('invalid_argument', `plugin index ${JSON.stringify(index)} must be two digits`);
  }
  if (/^[\w.+-]+$/.test(name)) return { index, name };
  throw new BerthError(
    'invalid_argument',
    `plugin name ${JSON.stringify(name)}: letters, digits, "-", "_", "." and "+"`,
  );
}
