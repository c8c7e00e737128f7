import { BerthError } from '#common/errors.ts';

/** Objects by id. Ids may be cut short as long as they stay unambiguous. */
export class Index<T extends { readonly id: string }> {
  readonly #items = new Map<string, T>();
  readonly #noun: string;

  /** @param noun what error messages call the objects */
  constructor(noun: string) {
    this.#noun = noun;
  }

  add(item: T): void {
    this.#items.set(item.id, item);
  }

  delete(id: string): void {
    this.#items.delete(id);
  }

  values(): T[] {
    return [...this.#items.values()];
  }

  /** The object of exactly this id. */
  exact(id: string): T | undefined {
    return this.#items.get(id);
  }

  has(id: string): boolean {
    return this.#items.has(id);
  }

  /**
   * The object whose id is, or starts with, `id`; undefined when there is none.
   *
   * @throws invalid_argument when several ids start so.
   */
  find(id: string): T | undefined {
    const exact = this.#items.get(id);
    if (exact !== undefined || id === '') return exact;
    const matches = this.values().filter((item) => item.id.startsWith(id));
    if (matches.length > 1) {
      throw new BerthError(
        'invalid_argument',
        `${this.#noun} id "${id}" is ambiguous: ${matches.length} start with it`,
      );
    }
    return matches[0];
  }

  /** @throws not_found; invalid_argument as `find`. */
  get(id: string): T {
    const item = this.find(id);
    if (item === undefined) throw new BerthError('not_found', `${this.#noun} "${id}" not found`);
    return item;
  }
}
