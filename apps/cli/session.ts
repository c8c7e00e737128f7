import { BerthError, messageOf } from '#common/errors.ts';
import { isLive } from '#common/grpc/socket.ts';
import { type Core, connectCore } from './core.ts';
import { type Column, formatTable } from './output/table.ts';

/** The options that every verb takes. */
export interface GlobalOptions {
  readonly address: string;
  readonly namespace: string;
  readonly json?: boolean;
}

/** Runs the work of a verb with a session; a failure becomes a message and an exit code. */
export type Act = (work: (session: Session) => Promise<void>) => Promise<void>;

/** What a verb works with: the daemon, the stop signal, and the form its answer is to have. */
export class Session implements Disposable {
  readonly core: Core;
  readonly namespace: string;
  readonly json: boolean;
  /** Fires on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;

  constructor({ address, namespace, json = false }: GlobalOptions, signal: AbortSignal) {
    this.core = connectCore(address, namespace);
    this.namespace = namespace;
    this.json = json;
    this.signal = signal;
  }

  /** Whether somebody watches who likes to see progress drawn. */
  get draws(): boolean {
    return !this.json && process.stdout.isTTY;
  }

  /** A table, or the rows themselves as JSON. */
  list<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    this.print(() => formatTable(rows, columns), rows);
  }

  /** Text for eyes, or the value as JSON. */
  print(text: () => string, value: unknown): void {
    process.stdout.write(`${this.json ? JSON.stringify(value, undefined, 2) : text()}\n`);
  }

  /** Does the same to several things. One that fails doesn't keep the others from it; the error names all that did. */
  async each(did: string, names: readonly string[], work: (name: string) => Promise<unknown>): Promise<void> {
    const done: string[] = [];
    const errors: unknown[] = [];
    for (const name of names) {
      this.signal.throwIfAborted();
      try {
        await work(name);
        done.push(name);
      } catch (error) {
        errors.push(BerthError.from(error, messageOf(error).includes(name) ? undefined : name));
      }
    }
    if (done.length > 0) this.print(() => done.map((name) => `${did} ${name}`).join('\n'), { [did]: done });
    if (errors.length > 1) throw BerthError.from(new AggregateError(errors, ''));
    if (errors.length === 1) throw errors[0];
  }

  [Symbol.dispose](): void {
    this.core[Symbol.dispose]();
  }
}

/** Says what to do when a call failed because there is no daemon; leaves other errors as they are. */
export async function explain(error: unknown, address: string): Promise<BerthError> {
  const failure = BerthError.from(error);
  // A registry or a shim can be unavailable too.
  if (failure.code !== 'unavailable' || (await isLive(address))) return failure;
  const advice = 'start it with "berth up", or name its socket with --address';
  return new BerthError('unavailable', `no daemon serves ${address}: ${advice}`, { cause: failure });
}

/** Adds to an error of the daemon what to do about it, where the code tells. */
export async function advised<T>(call: Promise<T>, advice: Partial<Record<BerthError['code'], string>>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const failure = BerthError.from(error);
    const fix = advice[failure.code];
    if (fix === undefined) throw failure;
    throw new BerthError(failure.code, `${failure.message}; ${fix}`, { cause: failure });
  }
}
