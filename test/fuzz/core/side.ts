import { basename } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { CallOptions } from '#common/grpc/client.ts';
import { type CoreClients, coreClients } from '../../support/core-clients.ts';
import { normalize } from './normalize.ts';

/** What became of a call, in a form that is equal on both sides when the clients can't tell the sides apart. */
export interface Outcome {
  readonly result?: unknown;
  readonly code?: string;
  readonly message?: string;
}

/** A daemon that is put to the test, and the place in it where a sequence runs. */
export class Side implements Disposable {
  readonly name: string;
  /** Folder of the daemon, for what is not to be told apart by its path. */
  readonly dir: string;
  readonly socket: string;
  readonly clients: CoreClients;
  #scope = '';
  /** Numbers of snapshots, in the order in which they were seen. */
  readonly #snapshots = new Map<string, number>();

  constructor(name: string, dir: string, socket: string) {
    this.name = name;
    this.dir = dir;
    this.socket = socket;
    this.clients = coreClients(socket, 'unused');
  }

  /** Turns to namespaces that nobody has used yet. */
  enter(scope: string): void {
    this.#scope = scope;
    this.#snapshots.clear();
  }

  /** The namespace behind a word of the generator: `main`, `other`, `unknown`; any other text is meant as it is. */
  namespace(word: string): string {
    if (word === 'main') return this.#scope;
    return word === 'other' || word === 'unknown' ? `${this.#scope}-${word}` : word;
  }

  /** Path below which the containers of the sequence have their cgroups. */
  get cgroup(): string {
    return `/${basename(this.dir)}/${this.name.replace(' ', '-')}/${this.#scope}`;
  }

  /** Whether a namespace is one of this sequence. */
  owns(namespace: string): boolean {
    return namespace === this.#scope || namespace.startsWith(`${this.#scope}-`);
  }

  /** How to call as the arguments of a step say. */
  options({ ns, lease }: { readonly ns: string; readonly lease?: string }, more: CallOptions = {}): CallOptions {
    return { timeoutMs: 60_000, ...more, namespace: this.namespace(ns), ...(lease === undefined ? {} : { lease }) };
  }

  async outcome(run: () => Promise<unknown>): Promise<Outcome> {
    try {
      return { result: this.normal(await run()) };
    } catch (error) {
      if (error instanceof BerthError) return this.failure(error);
      throw error;
    }
  }

  failure({ code, message }: BerthError): Outcome {
    return { code, message: String(this.normal(message)) };
  }

  /** All items of a stream, and how it ended. */
  async items(stream: AsyncIterable<unknown>): Promise<unknown> {
    const items: unknown[] = [];
    try {
      for await (const item of stream) items.push(item);
    } catch (error) {
      if (!(error instanceof BerthError)) throw error;
      if (items.length === 0) throw error;
      return { items, code: error.code };
    }
    return items;
  }

  normal(value: unknown): unknown {
    return normalize(value, (text) => this.#withoutPlaces(text));
  }

  [Symbol.dispose](): void {
    this.clients[Symbol.dispose]();
  }

  #withoutPlaces(text: string): string {
    if (text.includes(this.cgroup)) return text.replaceAll(this.cgroup, '/cgroup');
    if (!text.includes(this.dir)) return text;
    const pattern = new RegExp(`${RegExp.escape(this.dir)}/\\S*?/(\\d+)/(fs|work)`, 'g');
    return text.replace(pattern, (_, id: string, folder: string) => `snapshot ${this.#snapshotNumber(id)} ${folder}`);
  }

  #snapshotNumber(id: string): number {
    const known = this.#snapshots.get(id) ?? this.#snapshots.size + 1;
    this.#snapshots.set(id, known);
    return known;
  }
}
