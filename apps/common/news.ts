import { type Channel, channel } from 'node:diagnostics_channel';

/** What one part of a process tells whoever listens, without knowing them. Costs next to nothing while nobody does. */
export class News<T> {
  readonly #channel: Channel;

  /** @param name unique in the process */
  constructor(name: string) {
    this.#channel = channel(name);
  }

  /** Whether anybody listens: else there is no need to make up what to tell. */
  get isWanted(): boolean {
    return this.#channel.hasSubscribers;
  }

  tell(what: T): void {
    this.#channel.publish(what);
  }

  /** Disposing the answer ends it. */
  follow(listener: (what: T) => void): Disposable {
    const subscriber = (what: unknown): void => listener(what as T);
    this.#channel.subscribe(subscriber);
    return { [Symbol.dispose]: () => this.#channel.unsubscribe(subscriber) };
  }
}
