/** Entry of the worker thread that owns all log FIFOs. */
import { join } from 'node:path';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { BerthError } from '#common/errors.ts';
import { ContainerLog, type LogTools } from './container-log.ts';
import type { StreamName } from './cri-lines.ts';
import { DiscardedOutput } from './discarded-output.ts';
import { Follower } from './follower.ts';
import { LogClock } from './log-clock.ts';
import { LogCounts } from './log-counts.ts';
import { LogLoop } from './log-loop.ts';
import type { LogSource } from './log-manager.ts';
import type { Output } from './output.ts';
import type { Command, Request, WorkerMessage, WorkerSettings } from './worker-messages.ts';

const INPUT = 256 * 1024;

class LogWorker {
  readonly #settings: WorkerSettings;
  readonly #port: MessagePort;
  readonly #loop: LogLoop;
  readonly #tools: LogTools;
  readonly #outputs = new Map<string, Output>();

  constructor(settings: WorkerSettings, port: MessagePort) {
    this.#settings = settings;
    this.#port = port;
    this.#loop = new LogLoop({
      ...settings,
      onFault: (id, fault) => this.#post({ id, fault }),
      onFollowerEnd: (follower, stuck) => this.#post({ follower, stuck }),
    });
    const maxLine = settings.maxLine;
    const input = Buffer.allocUnsafeSlow(Math.max(INPUT, 4 * maxLine));
    const output = Buffer.allocUnsafeSlow(2 * input.length);
    this.#tools = {
      clock: new LogClock(),
      maxLine,
      input,
      output,
      followers: this.#loop.followers,
      counts: new LogCounts(settings.counts),
    };
  }

  /** Runs until it is told to stop. This thread has no other life: nothing asynchronous ever happens on it. */
  run(): void {
    try {
      while (Atomics.load(this.#settings.stop, 0) === 0) {
        this.#loop.turn();
        for (let next = receiveMessageOnPort(this.#port); next; next = receiveMessageOnPort(this.#port)) {
          this.#handle(next.message as Request);
        }
      }
    } finally {
      for (const output of this.#outputs.values()) output.close();
      this.#loop.close();
    }
  }

  #handle({ seq, command }: Request): void {
    try {
      if (command.op === 'drained') this.#drain(command.id, command.timeoutMs, seq);
      else {
        this.#execute(command);
        this.#post({ seq });
      }
    } catch (cause) {
      const { code, message } = BerthError.from(cause);
      this.#post({ seq, error: { code, message } });
    }
  }

  #execute(command: Exclude<Command, { op: 'drained' }>): void {
    if (command.op === 'attach') this.#attach(command.source);
    else if (command.op === 'reopen') this.#reopen(command.id);
    else if (command.op === 'follow')
      this.#follow(command.id, command.stream, new Follower(command.follower, command.fd));
    else if (command.op === 'unfollow') this.#loop.followers.remove(command.follower);
    else this.#detach(command.id);
  }

  #attach(source: LogSource): void {
    const id = source.containerId;
    if (this.#outputs.has(id)) throw new BerthError('already_exists', `the output of container ${id} is being read`);
    const output = this.#open(source);
    this.#outputs.set(id, output);
    this.#loop.add(output);
  }

  #open(source: LogSource): Output {
    const { logPath } = source;
    const { followers, input } = this.#tools;
    if (logPath === undefined) return new DiscardedOutput(source, followers, input);
    return ContainerLog.attach(
      { ...source, logPath },
      join(this.#settings.stateDirectory, source.containerId),
      this.#tools,
    );
  }

  #reopen(id: string): void {
    const output = this.#outputs.get(id);
    if (output === undefined) throw new BerthError('not_found', `container ${id} has no log that is being written`);
    try {
      output.reopen();
    } catch (error) {
      throw new BerthError('failed_precondition', BerthError.from(error, 'cannot reopen the log').message, {
        cause: error,
      });
    }
  }

  #follow(id: string, name: StreamName, follower: Follower): void {
    const stream = this.#outputs.get(id)?.streams.find((each) => each.name === name);
    if (stream === undefined) throw new BerthError('not_found', `container ${id} has no ${name} that is being read`);
    this.#loop.followers.add(follower, stream);
  }

  #drain(id: string, timeoutMs: number, seq: number): void {
    const output = this.#outputs.get(id);
    if (output === undefined) this.#post({ seq });
    else this.#loop.drain(output, timeoutMs, () => this.#post({ seq }));
  }

  #detach(id: string): void {
    const output = this.#outputs.get(id);
    if (output === undefined) return;
    this.#loop.remove(output);
    this.#outputs.delete(id);
    try {
      this.#loop.finish(output);
    } finally {
      output.forget();
    }
  }

  #post(message: WorkerMessage): void {
    this.#port.postMessage(message);
  }
}

const { settings, port } = workerData as { settings: WorkerSettings; port: MessagePort };
new LogWorker(settings, port).run();
port.close();
