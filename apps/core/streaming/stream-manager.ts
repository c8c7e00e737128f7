import { BerthError } from '#common/errors.ts';
import type { ClientStream } from './stream.ts';

/** The streams that clients hold open for other calls of theirs to use, by namespace and id. */
export class StreamManager {
  readonly #streams = new Map<string, ClientStream>();

  /** Makes the stream known until the answer is disposed. @throws already_exists; invalid_argument for an empty id. */
  register(ns: string, id: string, stream: ClientStream): Disposable {
    if (id === '') throw new BerthError('invalid_argument', 'a stream needs an id');
    const key = keyOf(ns, id);
    if (this.#streams.has(key)) throw new BerthError('already_exists', `stream "${id}" already exists`);
    this.#streams.set(key, stream);
    return { [Symbol.dispose]: () => void this.#streams.delete(key) };
  }

  /** @throws not_found */
  get(ns: string, id: string): ClientStream {
    const stream = this.#streams.get(keyOf(ns, id));
    if (stream === undefined) throw new BerthError('not_found', `stream "${id}" not found: open it before its use`);
    return stream;
  }
}

function keyOf(ns: string, id: string): string {
  return `${ns}\0${id}`;
}
