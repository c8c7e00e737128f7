import { BerthError } from '#common/errors.ts';

/** Tells others how far an operation has come. */
export interface Operation {
  stage(name: string): void;
}

interface Claim {
  readonly fingerprint: string;
  readonly since: number;
  stage: string;
  /** Set while the operation runs. */
  running?: Promise<string>;
  id?: string;
  /** Whether any caller was there to receive the id. */
  delivered: boolean;
}

/**
 * Names of pods or containers, each of which exists once. A client whose call broke off asks again: then it joins the
 * operation under way, or is given the id that it never received.
 */
export class Names {
  readonly #noun: string;
  readonly #claims = new Map<string, Claim>();

  /** @param noun what error messages call the objects */
  constructor(noun: string) {
    this.#noun = noun;
  }

  /**
   * Creates the object of a name with `create`, which runs to its end even if the caller goes away.
   *
   * @param fingerprint equal for requests that ask for the same
   * @param signal fires when the caller is gone
   * @throws already_exists naming the owner, or the stage and age of the operation that has the name
   */
  async claim(
    name: string,
    fingerprint: string,
    signal: AbortSignal,
    create: (operation: Operation) => Promise<string>,
  ): Promise<string> {
    const held = this.#claims.get(name);
    if (held !== undefined) return await this.#join(name, held, fingerprint, signal);
    const claim: Claim = { fingerprint, since: Date.now(), stage: 'starting', delivered: false };
    this.#claims.set(name, claim);
    claim.running = this.#run(name, claim, create);
    return await deliver(claim, claim.running, signal);
  }

  /** Records the owner of a name that was found at start. */
  restore(name: string, id: string, createdAtMs: number): void {
    this.#claims.set(name, { fingerprint: '', since: createdAtMs, stage: 'done', id, delivered: true });
  }

  /** Gives the name free, if `id` owns it. */
  release(name: string, id: string): void {
    if (this.#claims.get(name)?.id === id) this.#claims.delete(name);
  }

  async #run(name: string, claim: Claim, create: (operation: Operation) => Promise<string>): Promise<string> {
    const operation: Operation = {
      stage: (stage) => {
        claim.stage = stage;
      },
    };
    try {
      claim.id = await create(operation);
      claim.stage = 'done';
      return claim.id;
    } catch (error) {
      if (this.#claims.get(name) === claim) this.#claims.delete(name);
      throw error;
    } finally {
      delete claim.running;
    }
  }

  async #join(name: string, claim: Claim, fingerprint: string, signal: AbortSignal): Promise<string> {
    const same = claim.fingerprint === fingerprint;
    if (same && claim.running !== undefined) return await deliver(claim, claim.running, signal);
    if (same && claim.id !== undefined && !claim.delivered) {
      claim.delivered = true;
      return claim.id;
    }
    const age = `${((Date.now() - claim.since) / 1000).toFixed(1)} s`;
    throw new BerthError(
      'already_exists',
      claim.running === undefined
        ? `${this.#noun} name "${name}" is taken by ${claim.id}, created ${age} ago: remove that first, ` +
            'or use another attempt number'
        : `${this.#noun} name "${name}" is being created with another configuration ` +
            `(stage: ${claim.stage}, for ${age}): wait for it, or use another attempt number`,
    );
  }
}

async function deliver(claim: Claim, running: Promise<string>, signal: AbortSignal): Promise<string> {
  const id = await running;
  if (!signal.aborted) claim.delivered = true;
  return id;
}
