import { eventField } from './event-fields.ts';
import type { Envelope } from './events.ts';

/** Clients of containerd's Go library wait 3 s at most between two attempts to connect; a busy machine takes longer. */
const WINDOW_MS = 15_000;

/** As many exits as a node may have at once, many times over. */
const LIMIT = 4096;

/**
 * The exits that clients missed because the daemon was restarted.
 *
 * A shim repeats an exit until the daemon takes it, which it does before the first client has connected again. Docker
 * Engine learns of exits from events alone, so a container that ended meanwhile would run for ever in its eyes.
 * Therefore exits of tasks that were created before this daemon's start are kept for a while, for those who subscribe
 * only then.
 */
export class MissedExits {
  readonly #end: number;
  /** Tasks that were created since the start: whoever made them is there to hear of their end. */
  readonly #created = new Set<string>();
  #kept: Envelope[] = [];

  constructor(windowMs = WINDOW_MS) {
    this.#end = performance.now() + windowMs;
  }

  /** Takes note of an event that is being published. */
  note(envelope: Envelope): void {
    if (this.#isOver()) return;
    switch (envelope.topic) {
      case '/tasks/create':
        this.#created.add(taskOf(envelope));
        return;
      case '/tasks/exit':
        if (!this.#created.has(taskOf(envelope)) && this.#kept.length < LIMIT) this.#kept.push(envelope);
        return;
      case '/tasks/delete':
        // Whoever deletes a task knows that it has ended.
        this.#kept = this.#kept.filter((exit) => taskOf(exit) !== taskOf(envelope));
    }
  }

  /** What a new subscriber is to hear first. */
  list(): readonly Envelope[] {
    return this.#isOver() ? [] : this.#kept;
  }

  #isOver(): boolean {
    if (performance.now() < this.#end) return false;
    this.#kept = [];
    this.#created.clear();
    return true;
  }
}

function taskOf(envelope: Envelope): string {
  return `${envelope.namespace}/${eventField(envelope, ['event', 'container_id'])}`;
}
