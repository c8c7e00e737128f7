import { BerthError, isCode } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import type { Process } from '#proto/containerd/v1/types/Process.ts';
import type { Container, ContainerStore } from '../containers/store.ts';
import { Slots } from '../tasks/slots.ts';
import type { TaskManager } from '../tasks/task-manager.ts';
import { restartCount, restartLabels, wantsRestart } from './policy.ts';

export interface RestartMonitorOptions {
  /** Those whose labels ask for it. */
  readonly monitored: () => readonly { readonly namespace: string; readonly id: string }[];
  readonly containers: Pick<ContainerStore, 'get' | 'update'>;
  readonly tasks: Pick<TaskManager, 'get' | 'create' | 'delete'>;
  /** Between two looks at all containers, in milliseconds. */
  readonly intervalMs: number;
  readonly log: Logger;
}

const SIGKILL = 9;
/** After a reboot all containers are to be started at once: that many get their turn at a time. */
const AT_ONCE = 8;

/**
 * Keeps the tasks of containers that ask for it by label (policy.ts) running, or stopped. It looks at them at the start
 * and then every so often; a container is let alone while its last treatment goes on.
 */
export class RestartMonitor implements AsyncDisposable {
  readonly #options: RestartMonitorOptions;
  readonly #slots = new Slots(AT_ONCE);
  readonly #stop = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();
  /** Tasks that had been created and not started when last looked at: their client may be about to start them. */
  readonly #created = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RestartMonitorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#look();
    this.#timer = setInterval(() => this.#look(), this.#options.intervalMs);
  }

  /** Looks no more; settles when what is under way is broken off or done. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new BerthError('unavailable', 'berthd is stopping'));
    await Promise.all(this.#busy.values());
  }

  #look(): void {
    const { monitored, log } = this.#options;
    try {
      for (const { namespace, id } of monitored()) {
        const key = `${namespace}/${id}`;
        if (this.#busy.has(key)) continue;
        const tended = this.#slots
          .run(() => this.#tend(namespace, id))
          .catch((error: unknown) => {
            const level = this.#stop.signal.aborted || isCode(error, 'not_found') ? 'debug' : 'error';
            log[level]({ ns: namespace, id, err: error }, 'keeping a container in the state that its labels ask for');
          });
        this.#busy.set(
          key,
          tended.finally(() => this.#busy.delete(key)),
        );
      }
    } catch (error) {
      log.error({ err: error }, 'looking for containers to restart');
    }
  }

  async #tend(namespace: string, id: string): Promise<void> {
    const { containers } = this.#options;
    const state = await this.#stateOf(namespace, id);
    // Read after the wait: a client may have said meanwhile that it stops the container.
    const container = containers.get(namespace, id);
    const wanted = container.labels[restartLabels.status];
    const isNew = state?.status === 'CREATED' && !this.#created.has(`${namespace}/${id}`);
    if (isNew) this.#created.add(`${namespace}/${id}`);
    else this.#created.delete(`${namespace}/${id}`);
    switch (wanted) {
      case 'stopped':
        if (state !== undefined && state.status !== 'STOPPED') await this.#end(namespace, id);
        return;
      case 'running':
        if (isNew || state?.status === 'RUNNING' || state?.status === 'PAUSED' || state?.status === 'PAUSING') return;
        if (wantsRestart(container.labels, state?.exitStatus ?? 0)) await this.#restart(namespace, container, state);
    }
  }

  /** undefined when there is no task. */
  async #stateOf(namespace: string, id: string): Promise<Process | undefined> {
    try {
      return await this.#options.tasks.get(namespace, id).state('', this.#stop.signal);
    } catch (error) {
      if (isCode(error, 'not_found')) return undefined;
      throw error;
    }
  }

  async #restart(namespace: string, container: Container, state: Process | undefined): Promise<void> {
    const { containers, tasks, log } = this.#options;
    const { id, labels } = container;
    const count = String(restartCount(labels) + 1);
    const counted = { ...container, labels: { ...labels, [restartLabels.count]: count } };
    containers.update(namespace, counted, [`labels.${restartLabels.count}`]);
    if (state !== undefined) await this.#end(namespace, id);

    const output = labels[restartLabels.logUri] ?? '';
    const stdio = { stdin: '', stdout: output, stderr: output, terminal: hasTerminal(container) };
    const signal = this.#stop.signal;
    await tasks.create(namespace, id, { ...stdio, rootfs: [], options: null, runtimePath: '' }, signal);
    try {
      await tasks.get(namespace, id).call('Start', { id, execId: '' }, { signal });
    } catch (error) {
      await this.#end(namespace, id);
      throw error;
    }
    log.info({ ns: namespace, id, count, exitStatus: state?.exitStatus }, 'container restarted');
  }

  /** Kills what runs of a task and deletes it. */
  async #end(namespace: string, id: string): Promise<void> {
    const { tasks } = this.#options;
    const { signal } = this.#stop;
    const task = tasks.get(namespace, id);
    if ((await task.state('', signal)).status !== 'STOPPED') {
      try {
        await task.call('Kill', { id, execId: '', signal: SIGKILL, all: true }, { signal });
      } catch (error) {
        if (!isCode(error, 'not_found')) throw error;
      }
      await task.wait('', signal);
    }
    await tasks.delete(namespace, id);
  }
}

/** Whether the container's own process is to have a terminal. */
function hasTerminal({ id, spec }: Container): boolean {
  if (spec === undefined) return false;
  try {
    const { process } = JSON.parse(Buffer.from(spec.value).toString('utf8')) as { process?: { terminal?: boolean } };
    return process?.terminal === true;
  } catch (error) {
    throw BerthError.from(error, `spec of container ${id}`);
  }
}
