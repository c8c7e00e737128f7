import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '#common/errors.ts';
import { timestampToNs } from '#common/timestamp.ts';
import { decode } from '#common/wire/codec.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import { restartPatienceMs } from './core-client/restart-patience.ts';
import { reconcile } from './reconcile.ts';
import type { Runtime } from './runtime.ts';
import { containerExited, sandboxExited } from './task-exit.ts';

const topics = { exit: '/tasks/exit', oom: '/tasks/oom' } as const;

/** Pause before berthd is asked for events again. */
const reconnectMs = 100;
/** Subscribing and listing are two calls: what fell between them shows in a second look. */
const secondLookMs = 2_000;

/**
 * Follows the ends of tasks. When the stream of events breaks, because berthd is being restarted, it is taken up again
 * and all tasks are looked at, so that no end is missed.
 */
export class Monitor {
  readonly #rt: Runtime;
  readonly #stop = new AbortController();
  #following: Promise<void> = Promise.resolve();

  constructor(rt: Runtime) {
    this.#rt = rt;
  }

  /** Subscribes, lets `recover` build the state, and follows events from the moment of the subscription on. */
  async start(recover: () => Promise<void>): Promise<void> {
    const events = this.#subscribe();
    await recover();
    this.#following = this.#follow(events);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }

  #subscribe(): AsyncIterable<Envelope__Output> {
    return this.#rt.core.taskEvents(Object.values(topics), this.#stop.signal);
  }

  async #follow(first: AsyncIterable<Envelope__Output>): Promise<void> {
    const { signal } = this.#stop;
    let events = first;
    while (!signal.aborted) {
      const second = new AbortController();
      try {
        void this.#lookAgain(AbortSignal.any([signal, second.signal]));
        for await (const envelope of events) this.#handle(envelope);
      } catch (error) {
        if (!signal.aborted) this.#rt.log.warn(`no events from berthd, trying again: ${messageOf(error)}`);
      }
      second.abort();
      events = await this.#reconnect();
    }
  }

  async #reconnect(): Promise<AsyncIterable<Envelope__Output>> {
    const { signal } = this.#stop;
    for (;;) {
      await sleep(reconnectMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return (async function* () {})();
      try {
        await this.#rt.core.waitReady(restartPatienceMs);
        const events = this.#subscribe();
        await reconcile(this.#rt);
        return events;
      } catch (error) {
        this.#rt.log.warn(`berthd isn't back yet: ${messageOf(error)}`);
      }
    }
  }

  async #lookAgain(signal: AbortSignal): Promise<void> {
    try {
      await sleep(secondLookMs, undefined, { signal });
      await reconcile(this.#rt);
    } catch (error) {
      if (!signal.aborted) this.#rt.log.warn({ err: error }, 'could not look at the tasks again');
    }
  }

  #handle({ topic, event }: Envelope__Output): void {
    const rt = this.#rt;
    if (event === null) return;
    if (topic === topics.oom) {
      const container = rt.containers.find(decode('containerd.events.TaskOOM', event.value).containerId);
      if (container !== undefined) container.oomSeen = true;
      return;
    }
    const { containerId, id, exitStatus, exitedAt } = decode('containerd.events.TaskExit', event.value);
    // Commands run in a container end under an id of their own.
    if (id !== containerId) return;
    const exit = { exitCode: exitStatus, exitedAt: timestampToNs(exitedAt) };
    const container = rt.containers.find(containerId);
    const sandbox = rt.sandboxes.find(containerId);
    if (container !== undefined) this.#log(containerId, containerExited(rt, container, exit));
    else if (sandbox?.status.startedAt !== undefined) this.#log(containerId, sandboxExited(rt, sandbox, exit));
  }

  /** Handling goes on in the background, in order per id; what fails is caught up by the next look at the tasks. */
  #log(id: string, handling: Promise<void>): void {
    handling.catch((error: unknown) => this.#rt.log.warn({ id, err: error }, 'could not handle the end of a task'));
  }
}
