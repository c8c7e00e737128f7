import { createConnection, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const proto = (path: string) => fileURLToPath(new URL(`../../proto/github.com/containerd/${path}`, import.meta.url));

type Message = Record<string, unknown>;
type Handler = (request: Message) => Message | Promise<Message>;

/**
 * An NRI plugin that shares no code with the runtime: its own multiplexing and ttrpc framing over a socket, messages by
 * protobufjs. It handles the events that it has a handler for, and subscribes to those.
 */
export class TestNriPlugin implements Disposable {
  /** Events in the order of their arrival. */
  readonly seen: string[] = [];
  readonly #socket: Socket;
  readonly #handlers: Readonly<Record<string, Handler>>;
  readonly #types: protobuf.Root;
  readonly #answers = new Map<number, (payload: Uint8Array) => void>();
  #bytes = Buffer.alloc(0);
  readonly #streams = new Map<number, Buffer>();
  #next = 1;

  private constructor(socket: Socket, types: protobuf.Root, handlers: Readonly<Record<string, Handler>>) {
    this.#socket = socket;
    this.#types = types;
    this.#handlers = handlers;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => undefined);
  }

  /**
   * Connects, registers, and resolves once the runtime has synchronized the plugin.
   *
   * @param at the runtime's socket, or the descriptor that a launched plugin has of it
   */
  static async start(
    at: string | number,
    identity: { readonly index: string; readonly name: string },
    handlers: Readonly<Record<string, Handler>>,
  ): Promise<TestNriPlugin> {
    const types = new protobuf.Root();
    types.resolvePath = (_, target) => (target.startsWith('google/') ? proto(`../../${target}`) : target);
    await types.load([proto('nri/pkg/api/api.proto'), proto('ttrpc/request.proto')]);
    const socket =
      typeof at === 'string' ? createConnection(at) : new Socket({ fd: at, readable: true, writable: true });
    const synchronized = Promise.withResolvers<void>();
    const subscribed = Object.keys(handlers).reduce((bits, name) => bits | eventBit(name), 0);
    const plugin = new TestNriPlugin(socket, types, {
      ...handlers,
      Configure: async (request) => ({ events: subscribed, ...(await handlers.Configure?.(request)) }),
      Synchronize: async (request) => {
        const answer = (await handlers.Synchronize?.(request)) ?? {};
        synchronized.resolve();
        return answer;
      },
    });
    await plugin.call('RegisterPlugin', { pluginName: identity.name, pluginIdx: identity.index });
    await synchronized.promise;
    return plugin;
  }

  /** Calls the runtime; answers the message's bytes. */
  async call(method: 'RegisterPlugin' | 'UpdateContainers', request: Message): Promise<Uint8Array> {
    const stream = this.#next;
    this.#next += 2;
    const payload = this.#encode(`nri.pkg.api.v1alpha1.${method}Request`, request);
    const answer = new Promise<Uint8Array>((resolve) => this.#answers.set(stream, resolve));
    this.#send(2, stream, 1, this.#encode('ttrpc.Request', { service: `${nri}.Runtime`, method, payload }));
    return await answer;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 8 && this.#bytes.length >= 8 + this.#bytes.readUInt32BE(4)) {
      const connection = this.#bytes.readUInt32BE(0);
      const end = 8 + this.#bytes.readUInt32BE(4);
      const stream = Buffer.concat([this.#streams.get(connection) ?? Buffer.alloc(0), this.#bytes.subarray(8, end)]);
      this.#bytes = this.#bytes.subarray(end);
      this.#streams.set(connection, this.#frames(connection, stream));
    }
  }

  /** Handles whole ttrpc frames; answers what is left. */
  #frames(connection: number, stream: Buffer): Buffer {
    let rest = stream;
    while (rest.length >= 10 && rest.length >= 10 + rest.readUInt32BE(0)) {
      const end = 10 + rest.readUInt32BE(0);
      const id = rest.readUInt32BE(4);
      const data = rest.subarray(10, end);
      rest = rest.subarray(end);
      if (connection === 1) void this.#handle(id, data);
      else this.#answers.get(id)?.(data);
    }
    return rest;
  }

  async #handle(stream: number, data: Buffer): Promise<void> {
    const request = this.#decode('ttrpc.Request', data);
    const method = String(request.method);
    this.seen.push(method);
    try {
      const handler = this.#handlers[method];
      if (handler === undefined) throw new Error(`no handler of ${method}`);
      const message = this.#decode(`${nri}.${method}Request`, request.payload as Uint8Array);
      const payload = this.#encode(`${nri}.${method}Response`, await handler(message));
      this.#send(1, stream, 2, this.#encode('ttrpc.Response', { payload }));
    } catch (error) {
      const status = { code: 2, message: error instanceof Error ? error.message : String(error) };
      this.#send(1, stream, 2, this.#encode('ttrpc.Response', { status }));
    }
  }

  #send(connection: number, stream: number, type: number, data: Uint8Array): void {
    const header = Buffer.alloc(18);
    header.writeUInt32BE(connection, 0);
    header.writeUInt32BE(10 + data.length, 4);
    header.writeUInt32BE(data.length, 8);
    header.writeUInt32BE(stream, 12);
    header[16] = type;
    this.#socket.write(Buffer.concat([header, data]));
  }

  #encode(type: string, message: Message): Uint8Array {
    const messageType = this.#types.lookupType(type);
    return messageType.encode(messageType.fromObject(message)).finish();
  }

  #decode(type: string, bytes: Uint8Array): Message {
    const messageType = this.#types.lookupType(type);
    return messageType.toObject(messageType.decode(bytes), { longs: String, enums: String, defaults: true });
  }
}

const nri = 'nri.pkg.api.v1alpha1';

/** Events in the order of their numbers: a plugin subscribes with bit N-1 for event N. */
const events = [
  ...['RunPodSandbox', 'StopPodSandbox', 'RemovePodSandbox', 'CreateContainer', 'PostCreateContainer'],
  ...['StartContainer', 'PostStartContainer', 'UpdateContainer', 'PostUpdateContainer', 'StopContainer'],
  ...['RemoveContainer', 'UpdatePodSandbox', 'PostUpdatePodSandbox', 'ValidateContainerAdjustment'],
];

function eventBit(name: string): number {
  const index = events.indexOf(name);
  return index === -1 ? 0 : 1 << index;
}
