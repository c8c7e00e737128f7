import { BerthError } from '#common/errors.ts';

/** Which plugin has set what of a container: no two may set the same. */
export class Claims {
  readonly #owners = new Map<string, string>();

  /** @throws failed_precondition naming both plugins. */
  take(what: string, plugin: string): void {
    const owner = this.#owners.get(what);
    if (owner !== undefined && owner !== plugin) {
      throw new BerthError('failed_precondition', `NRI plugins ${owner} and ${plugin} both set ${what}`);
    }
    this.#owners.set(what, plugin);
  }

  /** A plugin that removes first may set anew what another has set. */
  release(what: string): void {
    this.#owners.delete(what);
  }
}
