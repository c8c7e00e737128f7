import { BerthError } from '#common/errors.ts';
import { nowNs } from '#common/timestamp.ts';
import type { ContainerEventResponse } from '#proto/runtime/v1/ContainerEventResponse.ts';
import type { ContainerEventType } from '#proto/runtime/v1/ContainerEventType.ts';
import { describeContainer } from './container-status.ts';
import { describeSandbox } from './sandbox-status.ts';
import type { Container } from './store/container.ts';
import type { Index } from './store/index.ts';
import type { Sandbox } from './store/sandbox.ts';

/** What a reader may lag behind; an event that waits takes some hundred bytes, and a pod's state some thousand. */
const queueLimit = 262_144;

/** The state of a pod for all its events that wait for one reader. */
interface PodState {
  sandbox: ContainerEventResponse['podSandboxStatus'];
  containers: ContainerEventResponse['containersStatuses'];
  waiting: number;
}

interface Waiting {
  readonly containerId: string;
  readonly type: ContainerEventType;
  readonly createdAt: string;
  readonly podId: string;
}

/**
 * Changes of containers and pods for GetContainerEvents (the kubelet's evented PLEG), each with the state of its pod. A
 * reader gets every event in the order in which they happened, however slow it is; those of one pod that wait for it
 * share the pod's newest state, so that what waits stays small. One that lags beyond all measure has its stream ended with
 * `resource_exhausted`, and lists anew, as the kubelet does.
 */
export class PodEvents {
  readonly #sandboxes: Index<Sandbox>;
  readonly #containers: Index<Container>;
  readonly #limit: number;
  readonly #readers = new Set<Reader>();

  constructor(sandboxes: Index<Sandbox>, containers: Index<Container>, limit = queueLimit) {
    this.#sandboxes = sandboxes;
    this.#containers = containers;
    this.#limit = limit;
  }

  /** Tells of a container. The state of the pod is that of now. */
  container(type: ContainerEventType, { id, metadata }: Container): void {
    this.#tell(type, id, metadata.sandboxId, this.#sandboxes.exact(metadata.sandboxId));
  }

  /** Tells of a pod's own container. */
  sandbox(type: ContainerEventType, sandbox: Sandbox): void {
    this.#tell(type, sandbox.id, sandbox.id, sandbox);
  }

  /** Every event from this call on. Ends when `signal` fires. */
  follow(signal: AbortSignal): AsyncIterableIterator<ContainerEventResponse> {
    const reader = new Reader(this.#limit);
    this.#readers.add(reader);
    return this.#read(reader, signal);
  }

  async *#read(reader: Reader, signal: AbortSignal): AsyncGenerator<ContainerEventResponse> {
    const wake = () => reader.wake();
    signal.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        const event = await reader.next(signal);
        if (event === undefined) return;
        yield event;
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#readers.delete(reader);
    }
  }

  #tell(type: ContainerEventType, containerId: string, podId: string, pod: Sandbox | undefined): void {
    if (this.#readers.size === 0) return;
    const event = { containerId, type, podId, createdAt: String(nowNs()) };
    const containers = this.#containers.values().filter(({ metadata }) => metadata.sandboxId === podId);
    const state = {
      sandbox: pod === undefined ? null : describeSandbox(pod),
      containers: containers.map(describeContainer),
    };
    for (const reader of this.#readers) reader.offer(event, state);
  }
}

/** The events that wait for one reader. */
class Reader {
  readonly #limit: number;
  readonly #pods = new Map<string, PodState>();
  #queue: Waiting[] = [];
  #head = 0;
  #failure: BerthError | undefined;
  #wake: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  offer(event: Waiting, { sandbox, containers }: Pick<PodState, 'sandbox' | 'containers'>): void {
    if (this.#failure !== undefined) return;
    if (this.#queue.length - this.#head >= this.#limit) {
      this.#failure = new BerthError('resource_exhausted', `${this.#limit} events behind: list anew, and follow again`);
      this.#queue = [];
      this.#pods.clear();
      this.wake();
      return;
    }
    this.#queue.push(event);
    const pod = this.#pods.get(event.podId);
    if (pod === undefined) this.#pods.set(event.podId, { sandbox, containers, waiting: 1 });
    else {
      // A pod that is gone is told of with the last that was known of it.
      if (sandbox !== null) pod.sandbox = sandbox;
      pod.containers = containers;
      pod.waiting++;
    }
    this.wake();
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** The next event; undefined once `signal` has fired. @throws resource_exhausted */
  async next(signal: AbortSignal): Promise<ContainerEventResponse | undefined> {
    for (;;) {
      if (signal.aborted) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      const event = this.#take();
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #take(): ContainerEventResponse | undefined {
    const event = this.#queue[this.#head];
    if (event === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#queue.length || this.#head >= 4096) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    const { containerId, type, createdAt, podId } = event;
    const pod = this.#pods.get(podId);
    if (pod !== undefined && --pod.waiting === 0) this.#pods.delete(podId);
    return {
      containerId,
      containerEventType: type,
      createdAt,
      podSandboxStatus: pod?.sandbox ?? null,
      containersStatuses: pod?.containers ?? [],
    };
  }
}
