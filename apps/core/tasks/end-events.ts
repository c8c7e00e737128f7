import { setTimeout as sleep } from 'node:timers/promises';
import type { EventPublisher } from '../events/events.ts';
import type { Exit } from './exit.ts';
import type { Task } from './task.ts';

export type EndTopic = '/tasks/exit' | '/tasks/delete';

const types = {
  '/tasks/exit': 'containerd.events.TaskExit',
  '/tasks/delete': 'containerd.events.TaskDelete',
} as const;

/** How long a shim that has answered Delete may take to tell it. Ours and containerd's do it before they answer. */
const TELL_MS = 2000;

/** Tasks that are gone, of which a slow shim may still tell what has been told in its place. */
const REMEMBERED = 1024;

interface Life {
  /** 0 when it isn't known. */
  readonly pid: number;
  readonly told: Set<EndTopic>;
  readonly deleteTold: PromiseWithResolvers<void>;
}

/**
 * What subscribers hear of the end of a task: its exit, then its delete, each of them once.
 *
 * The shim tells both. But containerd's queues its events, and a Shutdown ends it without waiting for the queue; any shim
 * may be killed. So a delete isn't over before its event has come, and what the shim has kept to itself is told in its
 * place. From then on the shim's own words on that are dropped.
 */
export class EndEvents {
  readonly #events: EventPublisher;
  readonly #tellMs: number;
  readonly #living = new Map<string, Life>();
  /** Of tasks that nobody knows, or no more; the oldest first. */
  readonly #past = new Map<string, Life>();

  constructor(events: EventPublisher, tellMs = TELL_MS) {
    this.#events = events;
    this.#tellMs = tellMs;
  }

  /** A new task is there, with `pid` as its init process. */
  begin(namespace: string, id: string, pid: number): void {
    const key = keyOf(namespace, id);
    this.#past.delete(key);
    this.#living.set(key, lifeOf(pid));
  }

  /** A task of an earlier daemon has been found; its shim may have told its end since our start. */
  resume(namespace: string, id: string): void {
    const key = keyOf(namespace, id);
    this.#living.set(key, this.#past.get(key) ?? lifeOf(0));
    this.#past.delete(key);
  }

  /** The task is gone. */
  end(namespace: string, id: string): void {
    const key = keyOf(namespace, id);
    const life = this.#living.get(key);
    if (life === undefined) return;
    this.#living.delete(key);
    this.#remember(key, life);
  }

  /** A shim tells of an init process. False when subscribers have heard it. */
  admit(namespace: string, topic: EndTopic, id: string, pid: number): boolean {
    const key = keyOf(namespace, id);
    let life = this.#living.get(key) ?? this.#past.get(key);
    if (life !== undefined && life.pid !== 0 && pid !== 0 && life.pid !== pid) {
      // Of another task of that id: all that is known of it is what its shim says.
      if (this.#living.has(key)) return true;
      life = undefined;
    }
    if (life === undefined) {
      life = lifeOf(pid);
      this.#remember(key, life);
    }
    if (life.told.has(topic)) return false;
    note(life, topic);
    return true;
  }

  /** Tells it in the shim's place, unless it has been told. */
  tell(namespace: string, topic: EndTopic, id: string, exit: Exit): void {
    if (!this.admit(namespace, topic, id, 0)) return;
    this.#events.publishTyped(namespace, topic, types[topic], { containerId: id, id, ...exit });
  }

  /** Gives the shim that has answered Delete the time to tell it; less if it ends first. Whether it did. */
  async deleteTold(task: Task): Promise<boolean> {
    const life = this.#living.get(keyOf(task.namespace, task.id));
    if (life === undefined) return false;
    const waiting = new AbortController();
    const timeout = sleep(this.#tellMs, undefined, { signal: waiting.signal }).catch(() => undefined);
    const ended = new Promise<void>((resolve) => (task.shim === undefined ? resolve() : task.shim.onClose(resolve)));
    await Promise.race([life.deleteTold.promise, ended, timeout]);
    waiting.abort();
    return life.told.has('/tasks/delete');
  }

  #remember(key: string, life: Life): void {
    this.#past.delete(key);
    this.#past.set(key, life);
    if (this.#past.size <= REMEMBERED) return;
    for (const oldest of this.#past.keys()) {
      this.#past.delete(oldest);
      break;
    }
  }
}

function lifeOf(pid: number): Life {
  return { pid, told: new Set(), deleteTold: Promise.withResolvers() };
}

function note(life: Life, topic: EndTopic): void {
  life.told.add(topic);
  if (topic === '/tasks/delete') life.deleteTold.resolve();
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
