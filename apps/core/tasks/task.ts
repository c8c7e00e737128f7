import { BerthError, isCode } from '#common/errors.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { Process } from '#proto/containerd/v1/types/Process.ts';
import type { Bundle } from './bundle.ts';
import { type Exit, KILLED } from './exit.ts';
import type { CallOptions, Shim, ShimMethod, ShimRequest, ShimResponse } from './shim.ts';
import type { ShimLog } from './shim-log.ts';

/** How long a Get waits for a shim to say its state, and for a dead one to be cleared away. */
const STATE_TIMEOUT_MS = 2000;

export interface TaskParts {
  readonly bundle: Bundle;
  readonly shimBinary: string;
  /** The task or pod whose shim it is. */
  readonly group: string;
  readonly shim: Shim | undefined;
  readonly shimLog: ShimLog | undefined;
  /** Whether the shim is that of a sandbox, which goes on when the task is gone. */
  readonly inSandbox?: boolean;
  /** Of the init process, where it is known already. */
  readonly pid?: number;
  readonly exit?: Exit | undefined;
}

/**
 * A task that some shim acknowledged and no client has deleted.
 *
 * The shim knows the truth and is asked for it. When it has died, the task lives on as a record of its end: `clearing`
 * settles once the container is known to be dead, and from then on the task is stopped with `exit`.
 */
export class Task {
  readonly bundle: Bundle;
  readonly shimBinary: string;
  readonly group: string;
  readonly shimLog: ShimLog | undefined;
  /** undefined for a task whose shim was found dead at start. */
  readonly shim: Shim | undefined;
  readonly inSandbox: boolean;
  /** Whether an earlier daemon knew how the init process ended: it told that, or the shim does. */
  readonly exitOnRecord: boolean;
  /** Set while a Delete that the shim acknowledged goes on: its connection may break now. */
  deleting = false;
  /** Set when somebody has noticed that the shim died. */
  isBeingCleared = false;
  #pid: number | undefined;
  #exit: Exit | undefined;
  readonly #cleared = Promise.withResolvers<void>();
  /** One call of the shim's Wait per process, shared by everybody who waits; the init process is ''. */
  readonly #waits = new Map<string, Promise<Exit>>();

  constructor(parts: TaskParts) {
    this.bundle = parts.bundle;
    this.shimBinary = parts.shimBinary;
    this.group = parts.group;
    this.shim = parts.shim;
    this.shimLog = parts.shimLog;
    this.inSandbox = parts.inSandbox ?? false;
    this.#pid = parts.pid;
    this.#exit = parts.exit;
    this.exitOnRecord = parts.exit !== undefined;
  }

  get namespace(): string {
    return this.bundle.namespace;
  }

  get id(): string {
    return this.bundle.id;
  }

  /** How the init process ended, once anybody has said so. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Whether there is no shim to talk to any more. */
  get lost(): boolean {
    return this.shim === undefined || this.shim.closed;
  }

  /** Whether `pid` can be its init process, for all that is known. */
  mayHave(pid: number): boolean {
    return pid === 0 || this.#pid === undefined || this.#pid === pid;
  }

  /** The first report stands: a shim that dies after its container doesn't change how that ended. */
  recordExit(exit: Exit): Exit {
    this.#exit ??= exit;
    return this.#exit;
  }

  /** Says that nothing of a dead shim's container is left; `recordExit` has come before. */
  markCleared(): void {
    this.#cleared.resolve();
  }

  /** Settles once a dead shim's container is cleared away. */
  get cleared(): Promise<void> {
    return this.#cleared.promise;
  }

  /** @throws the shim's own code; failed_precondition when the shim has died. */
  async call<M extends ShimMethod>(
    method: M,
    request: ShimRequest<M>,
    options?: CallOptions,
  ): Promise<ShimResponse<M>> {
    const answer = await this.#ask(method, request, options);
    if (answer !== undefined) return answer;
    throw new BerthError(
      'failed_precondition',
      `shim of task ${this.id} has died and its container was killed: delete the task`,
    );
  }

  /**
   * The process as it is now, the init process for ''.
   * @throws not_found for an unknown exec; deadline_exceeded when the shim doesn't answer.
   */
  async state(execId: string, signal?: AbortSignal): Promise<Process> {
    const timeout = AbortSignal.timeout(STATE_TIMEOUT_MS);
    const options = { signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) };
    const state = await this.#ask('State', { id: this.id, execId }, options);
    if (state !== undefined) {
      const { pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt } = state;
      if (execId === '') this.#pid = pid;
      if (execId === '' && status === 'STOPPED')
        this.recordExit({ pid, exitStatus, exitedAt: exitedAt ?? timestampNow() });
      // As containerd has it: the process is named by the exec's id, or the task's, and containerId stays empty.
      return { id: execId || this.id, pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt };
    }
    if (execId !== '')
      throw new BerthError('not_found', `exec ${execId} of task ${this.id} not found: its shim has died`);
    await orAbort(this.cleared, options.signal, `state of task ${this.id}`);
    return { id: this.id, status: 'STOPPED', ...this.#exit };
  }

  /**
   * The init process, which the shim is asked for at most once.
   * @throws not_found when it has ended.
   */
  async livingPid(signal?: AbortSignal): Promise<number> {
    if (this.#pid === undefined) await this.state('', signal);
    if (this.#pid === undefined || this.#exit !== undefined) {
      throw new BerthError('not_found', `process of task ${this.id} has already finished`);
    }
    return this.#pid;
  }

  /**
   * Settles when the process has ended, the init process for ''; at once if it has. Across the death of the shim too.
   * @throws not_found for an unknown exec.
   */
  async wait(execId: string, signal?: AbortSignal): Promise<Exit> {
    if (execId === '' && this.#exit !== undefined && (this.shim === undefined || this.lost)) return this.#exit;
    let waiting = this.#waits.get(execId);
    if (waiting === undefined) {
      waiting = this.#waitOnce(execId);
      this.#waits.set(execId, waiting);
      const forget = () => this.#waits.delete(execId);
      waiting.then(forget, forget);
    }
    return await orAbort(waiting, signal, `waiting for ${execId || 'the init process'} of task ${this.id}`);
  }

  async #waitOnce(execId: string): Promise<Exit> {
    const answer = await this.#ask('Wait', { id: this.id, execId });
    if (answer !== undefined) {
      return { pid: 0, exitStatus: answer.exitStatus, exitedAt: answer.exitedAt ?? timestampNow() };
    }
    await this.cleared;
    // An exec whose end its shim didn't live to tell died with the container at the latest.
    return this.#exit ?? { pid: 0, exitStatus: KILLED, exitedAt: timestampNow() };
  }

  /** undefined when there is no shim to answer, or no more before it did. */
  async #ask<M extends ShimMethod>(
    method: M,
    request: ShimRequest<M>,
    options?: CallOptions,
  ): Promise<ShimResponse<M> | undefined> {
    const { shim } = this;
    if (shim === undefined || shim.closed) return undefined;
    try {
      return await shim.call(method, request, options);
    } catch (error) {
      if (shim.closed && isCode(error, 'unavailable')) return undefined;
      throw error;
    }
  }
}

/** Stops waiting for the promise, which goes on, when the signal fires. */
async function orAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined, what: string): Promise<T> {
  if (signal === undefined) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(BerthError.from(signal.reason, what));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
