import { BerthError, isCode } from '#common/errors.ts';
import { timestampNow } from '#common/timestamp.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { encode, type MessageName } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import type { ShimLog } from './log.ts';

/** Topics by event; both are containerd's (`core/runtime/events.go`). */
const topics = {
  'containerd.events.TaskCreate': '/tasks/create',
  'containerd.events.TaskStart': '/tasks/start',
  'containerd.events.TaskExit': '/tasks/exit',
  'containerd.events.TaskDelete': '/tasks/delete',
  'containerd.events.TaskExecAdded': '/tasks/exec-added',
  'containerd.events.TaskExecStarted': '/tasks/exec-started',
  'containerd.events.TaskPaused': '/tasks/paused',
  'containerd.events.TaskResumed': '/tasks/resumed',
  'containerd.events.TaskCheckpointed': '/tasks/checkpointed',
  'containerd.events.TaskOOM': '/tasks/oom',
} as const satisfies Partial<Record<MessageName, string>>;

export type EventType = keyof typeof topics;
export type Publish = <E extends EventType>(type: E, event: WireTypes[E]['in']) => void;

/** Events kept while the daemon is away; a container makes five in its life, an exec four. */
const maxQueued = 4096;
const firstDelayMs = 50;
const longestDelayMs = 5000;
const callTimeoutMs = 10_000;

/**
 * Forwards events to the daemon, one after another in the order they were published, each until it is acknowledged
 * (`containerd.services.events.ttrpc.v1.Events/Forward`). While the daemon is away it tries again with growing
 * pauses. An event that the daemon refuses for good is dropped, and so is the oldest of too many.
 */
export class EventForwarder {
  readonly #address: string;
  readonly #namespace: string;
  readonly #log: ShimLog;
  readonly #queue: Uint8Array[] = [];
  #client: TtrpcClient | undefined;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  /** `address` is a socket path. */
  constructor(address: string, namespace: string, log: ShimLog) {
    this.#address = address;
    this.#namespace = namespace;
    this.#log = log;
  }

  readonly publish: Publish = (type, event) => {
    const any = { type_url: type, value: Buffer.from(encode(type, event)) };
    const envelope = { timestamp: timestampNow(), namespace: this.#namespace, topic: topics[type], event: any };
    this.#queue.push(encode('containerd.services.events.ttrpc.v1.ForwardRequest', { envelope }));
    if (this.#queue.length > maxQueued) {
      this.#queue.shift();
      this.#log.warn('too many events wait for the daemon: the oldest is dropped');
    }
    this.#running ??= this.#forwardAll();
  };

  /** Waits at most `ms` for the queue to empty, without further pauses between attempts. */
  async drain(ms: number): Promise<void> {
    this.#wake?.();
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#running, expired]);
    clearTimeout(timer);
  }

  async #forwardAll(): Promise<void> {
    let delay = firstDelayMs;
    for (;;) {
      const [event] = this.#queue;
      if (event === undefined) break;
      try {
        await this.#forward(event);
        if (this.#queue[0] === event) this.#queue.shift();
        delay = firstDelayMs;
      } catch (error) {
        if (isCode(error, 'invalid_argument', 'unimplemented', 'permission_denied', 'failed_precondition')) {
          this.#log.warn('the daemon refuses an event', error);
          this.#queue.shift();
          continue;
        }
        await this.#pause(delay);
        delay = Math.min(delay * 2, longestDelayMs);
      }
    }
    this.#running = undefined;
  }

  async #forward(event: Uint8Array): Promise<void> {
    const client = await this.#connect();
    await client.call('containerd.services.events.ttrpc.v1.Events', 'Forward', event, { timeoutMs: callTimeoutMs });
  }

  async #connect(): Promise<TtrpcClient> {
    if (this.#client !== undefined) return this.#client;
    if (this.#address === '') throw new BerthError('unimplemented', 'TTRPC_ADDRESS is not set');
    const client = await TtrpcClient.connect(this.#address);
    client.onClose(() => {
      if (this.#client === client) this.#client = undefined;
    });
    this.#client = client;
    return client;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
