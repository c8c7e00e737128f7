import { mkdirSync } from 'node:fs';
import { Socket } from 'node:net';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { close, eventfd, eventfdSignal, O, pipe } from '#common/native/index.ts';
import { DEFAULT_MAX_LINE, type StreamName } from './cri-lines.ts';
import { LogCounts } from './log-counts.ts';
import type { FollowedOutput, LogManager, LogSource } from './log-manager.ts';
import type { Command, WorkerMessage, WorkerSettings } from './worker-messages.ts';

/** Before a worker that died is replaced. */
const RESTART_MS = 1000;
const FOLLOWER_PATIENCE_MS = 10_000;

export interface LogManagerOptions {
  /** Folder of the journals, best on tmpfs; made if need be. */
  readonly stateDirectory: string;
  readonly log: Logger;
  /** Content of one log entry at most, in bytes; longer lines are cut into parts. */
  readonly maxLine?: number;
  /** How long a container waits for someone who follows its output and doesn't read. */
  readonly followerPatienceMs?: number;
}

interface Pending {
  readonly command: Command;
  readonly resolve: () => void;
  readonly reject: (error: BerthError) => void;
}

/** A LogManager that does everything in one worker thread, blocked in epoll_wait while no container writes. */
export class WorkerLogManager implements LogManager {
  readonly #log: Logger;
  readonly #settings: WorkerSettings;
  readonly written = new LogCounts();
  readonly #sources = new Map<string, LogSource>();
  readonly #pending = new Map<number, Pending>();
  /** Those who follow an output. The worker uses the write ends. */
  readonly #followers = new Map<number, { readonly fd: number; readonly output: Socket }>();
  readonly #stopAtExit = () => this.#stop();
  #seq = 0;
  /** Absent while there is no worker. */
  #port: MessagePort | undefined;
  #worker: Worker;
  #closed = false;

  constructor(options: LogManagerOptions) {
    this.#log = options.log;
    mkdirSync(options.stateDirectory, { recursive: true, mode: 0o700 });
    this.#settings = {
      stateDirectory: options.stateDirectory,
      maxLine: options.maxLine ?? DEFAULT_MAX_LINE,
      followerPatienceMs: options.followerPatienceMs ?? FOLLOWER_PATIENCE_MS,
      wake: eventfd(),
      counts: this.written.shared,
      stop: new Int32Array(new SharedArrayBuffer(4)),
    };
    [this.#worker, this.#port] = this.#start();
    // process.exit() waits for threads, and this one waits for output.
    process.on('exit', this.#stopAtExit);
  }

  async attach(source: LogSource): Promise<void> {
    await this.#ask({ op: 'attach', source });
    this.#sources.set(source.containerId, source);
  }

  reopen(containerId: string): Promise<void> {
    return this.#ask({ op: 'reopen', id: containerId });
  }

  drained(containerId: string, timeoutMs: number): Promise<void> {
    return this.#ask({ op: 'drained', id: containerId, timeoutMs });
  }

  detach(containerId: string): Promise<void> {
    this.#sources.delete(containerId);
    return this.#ask({ op: 'detach', id: containerId });
  }

  async follow(containerId: string, stream: StreamName): Promise<FollowedOutput> {
    const [readEnd, fd] = pipe(O.CLOEXEC | O.NONBLOCK);
    const follower = ++this.#seq;
    const output = new Socket({ fd: readEnd, readable: true, writable: false });
    output.on('error', () => undefined);
    this.#followers.set(follower, { fd, output });
    try {
      await this.#ask({ op: 'follow', id: containerId, stream, follower, fd });
    } catch (error) {
      output.destroy();
      this.#unfollowed(follower);
      throw error;
    }
    const end = () => {
      output.destroy();
      if (this.#followers.has(follower)) this.#ask({ op: 'unfollow', follower }).catch(() => undefined);
    };
    return { output, [Symbol.dispose]: end };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const ended = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#stop();
    await ended;
    process.off('exit', this.#stopAtExit);
    close(this.#settings.wake);
  }

  #start(): [Worker, MessagePort] {
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      name: 'berth-logs',
      workerData: { settings: this.#settings, port: port2 },
      transferList: [port2],
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    port1.on('message', (message: WorkerMessage) => this.#receive(message));
    worker.on('error', (error) => this.#log.error({ err: error }, 'log worker died'));
    worker.on('exit', () => {
      port1.close();
      this.#ended();
    });
    return [worker, port1];
  }

  #ask(command: Command): Promise<void> {
    if (this.#closed) return Promise.reject(new BerthError('unavailable', 'the log manager is closed'));
    const seq = ++this.#seq;
    return new Promise((resolve, reject) => {
      this.#pending.set(seq, { command, resolve, reject });
      this.#send(seq, command);
    });
  }

  /** While there is no worker, requests wait for the next one. */
  #send(seq: number, command: Command): void {
    this.#port?.postMessage({ seq, command });
    eventfdSignal(this.#settings.wake);
  }

  #receive(message: WorkerMessage): void {
    if ('seq' in message) {
      const pending = this.#pending.get(message.seq);
      this.#pending.delete(message.seq);
      if (message.error === undefined) pending?.resolve();
      else pending?.reject(new BerthError(message.error.code, message.error.message));
    } else if ('follower' in message) {
      this.#unfollowed(message.follower, message.stuck);
    } else if (message.fault === null) {
      this.#log.info({ id: message.id }, 'log can be written again');
    } else {
      this.#log.warn({ id: message.id, fault: message.fault }, 'log cannot be written; its output waits');
    }
  }

  /** The worker is done with a follower: whoever reads it gets the end. */
  #unfollowed(id: number, stuck = false): void {
    const follower = this.#followers.get(id);
    if (follower === undefined) return;
    this.#followers.delete(id);
    close(follower.fd);
    if (stuck) follower.output.destroy(new BerthError('resource_exhausted', 'the output was read too slowly'));
  }

  /** What the worker was asked may be what it died of: it isn't asked again. */
  #ended(): void {
    this.#port = undefined;
    for (const follower of this.#followers.keys()) this.#unfollowed(follower);
    for (const { reject } of this.#pending.values()) reject(new BerthError('unavailable', 'the log worker ended'));
    this.#pending.clear();
    if (!this.#closed) setTimeout(() => this.#replace(), RESTART_MS);
  }

  /** What the dead worker had in hand is where a dead process's would be. */
  #replace(): void {
    if (this.#closed) return;
    const waiting = [...this.#pending];
    [this.#worker, this.#port] = this.#start();
    for (const source of this.#sources.values()) {
      this.#ask({ op: 'attach', source }).catch((error) => {
        this.#log.error({ err: error, id: source.containerId }, 'log lost its worker and could not be attached again');
      });
    }
    for (const [seq, { command }] of waiting) this.#send(seq, command);
  }

  #stop(): void {
    Atomics.store(this.#settings.stop, 0, 1);
    eventfdSignal(this.#settings.wake);
  }
}
