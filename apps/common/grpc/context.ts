import type { EventEmitter } from 'node:events';
import type { Metadata, ServiceError } from '@grpc/grpc-js';
import { BerthError } from '../errors.ts';
import { validateIdentifier } from '../identifiers.ts';
import type { Logger } from '../log.ts';

/** Metadata keys of containerd's API. */
export const metadataKeys = {
  namespace: 'containerd-namespace',
  lease: 'containerd-lease',
} as const;

/** What a handler knows about its call besides the request. */
export interface CallContext {
  /** Fires when the client cancels, goes away, or its deadline passes before the answer; the reason is a BerthError. */
  readonly signal: AbortSignal;
  readonly deadline: Date | undefined;
  readonly metadata: Metadata;
  /** The containerd namespace. @throws BerthError `failed_precondition` without one, `invalid_argument` if it is no name */
  readonly namespace: string;
  /** The containerd lease that the call works under, if any. */
  readonly lease: string | undefined;
  readonly log: Logger;
  /** Full name on the wire, e.g. `/runtime.v1.RuntimeService/Version`. */
  readonly method: string;
}

/** What all kinds of server calls of grpc-js have in common. */
export type ServerCall = EventEmitter & {
  readonly cancelled: boolean;
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  getPath(): string;
};

/** The context of one grpc-js call; what costs something is made when it is first asked for. */
export class ServerCallContext implements CallContext {
  readonly #call: ServerCall;
  readonly log: Logger;
  #controller: AbortController | undefined;
  #answered = false;
  /** Asked for more than once in most calls; undefined until then. */
  #namespace: { readonly sent: string | undefined } | undefined;

  constructor(call: ServerCall, log: Logger) {
    this.#call = call;
    this.log = log;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      if (this.#call.cancelled) controller.abort(this.#cancelReason());
      else this.#call.once('cancelled', () => this.#answered || controller.abort(this.#cancelReason()));
    }
    return this.#controller.signal;
  }

  /** The client has its answer. grpc-js ends every call with "cancelled", which is news to nobody from now on. */
  answered(): void {
    this.#answered = true;
  }

  get cancelled(): boolean {
    return this.#call.cancelled;
  }

  get deadline(): Date | undefined {
    const deadline = this.#call.getDeadline();
    if (deadline instanceof Date) return deadline;
    return Number.isFinite(deadline) ? new Date(deadline) : undefined;
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  get method(): string {
    return this.#call.getPath();
  }

  get namespace(): string {
    const namespace = this.namespaceIfAny;
    if (namespace === undefined) {
      throw new BerthError(
        'failed_precondition',
        `namespace is required: send it in the metadata "${metadataKeys.namespace}"`,
      );
    }
    return validateIdentifier(namespace, 'namespace');
  }

  get namespaceIfAny(): string | undefined {
    this.#namespace ??= { sent: first(this.#call.metadata, metadataKeys.namespace) };
    return this.#namespace.sent;
  }

  get lease(): string | undefined {
    return first(this.#call.metadata, metadataKeys.lease);
  }

  #cancelReason(): BerthError {
    const { deadline } = this;
    return deadline !== undefined && deadline.getTime() <= Date.now()
      ? new BerthError('deadline_exceeded', 'the deadline of the call has passed')
      : new BerthError('canceled', 'the client cancelled the call');
  }
}

/** The status a BerthError travels as. */
export type CallStatus = Pick<ServiceError, 'code' | 'details'>;

/** A header sent more than once reaches us as one text with commas. Of several values the first counts, as in containerd. */
function first(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return value?.toString().split(',')[0]?.trim() || undefined;
}
