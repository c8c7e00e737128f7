import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, createReadStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '#common/native/index.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { Berthd } from '../support/berthd.ts';
import { createContainer, processOf, removeContainer } from '../support/container.ts';
import type { CoreClients } from '../support/core-clients.ts';
import { type ShimProcess, shimProcesses, shimTemplates } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';
import type { CpuAccount } from './cpu-account.ts';
import { privateMiB, proportionalMiB } from './memory.ts';
import { childrenMs, threadsMs } from './processor-time.ts';
import { mean } from './statistics.ts';

const logBytes = 1 << 30;
/** Idle shims give memory back 15 s after their last call. */
const settleMs = 18_000;

/** A kind of shim. */
export interface ShimKind {
  readonly name: string;
  /** As a container names it. */
  readonly runtime: string;
}

/** What was measured of one kind. */
export interface ShimFigures {
  readonly create: number[];
  readonly start: number[];
  readonly remove: number[];
  /** Milliseconds of CPU of create and start: the whole runtime's, and the shim's own, without the OCI runtime's. */
  readonly startCpu: number[];
  readonly shimCpu: number[];
  /** Milliseconds of CPU from create to deleted. */
  readonly allCpu: number[];
  readonly exec: number[];
  /** MB/s. */
  readonly log: number[];
  privateMiB: number;
  proportionalMiB: number;
  podMiB: number;
  /** Of what the shims are forked from; there once. */
  templateMiB: number;
}

export interface ShimRunsParts {
  readonly dir: string;
  readonly namespace: string;
  readonly clients: CoreClients;
  readonly chain: string;
  readonly cpu: CpuAccount;
  readonly berthd: Berthd;
}

/** berthd with an image, and what is measured there. */
export class ShimRuns {
  readonly #parts: ShimRunsParts;
  #count = 0;

  constructor(parts: ShimRunsParts) {
    this.#parts = parts;
  }

  get #shims(): ShimProcess[] {
    return shimProcesses(this.#parts.namespace);
  }

  get #templates(): number[] {
    return shimTemplates(this.#parts.berthd.daemon.pid);
  }

  /** A container's id and, once created, the task's pid; `pod` groups it for shims that share. */
  async #container(kind: ShimKind, args: readonly string[], pod?: string): Promise<string> {
    const { clients, namespace, chain } = this.#parts;
    const id = `c${++this.#count}`;
    await createContainer(
      { clients, namespace },
      {
        id,
        chain,
        args,
        runtime: kind.runtime,
        change: (spec) => {
          if (pod !== undefined) spec.annotations = { 'io.kubernetes.cri.sandbox-id': pod };
        },
      },
    );
    return id;
  }

  async #run(kind: ShimKind, pod?: string): Promise<string> {
    const id = await this.#container(kind, ['sleep', '3600'], pod);
    const { tasks } = this.#parts.clients;
    await tasks.create({ containerId: id });
    await tasks.start({ containerId: id });
    return id;
  }

  async #remove(id: string): Promise<void> {
    const { tasks } = this.#parts.clients;
    await tasks.kill({ containerId: id, signal: 9 }).catch(() => undefined);
    await tasks.wait({ containerId: id });
    await tasks.delete({ containerId: id });
    await removeContainer(this.#parts, id);
  }

  async startAndRemove(kind: ShimKind, figures: ShimFigures): Promise<void> {
    const { clients, cpu, berthd } = this.#parts;
    const { tasks } = clients;
    const daemon = berthd.daemon.pid;
    const containerId = await this.#container(kind, ['sleep', '3600']);
    const templatesMs = (): number => this.#templates.reduce((sum, pid) => sum + threadsMs(pid), 0);
    const before = { cpu: cpu.usedMs(), ended: childrenMs(daemon), templates: templatesMs() };
    const begin = performance.now();
    await tasks.create({ containerId });
    const created = performance.now();
    await tasks.start({ containerId });
    const started = performance.now();
    // A foreign shim's `start` is one of berthd's ended children; for ours the template forks.
    const beside = childrenMs(daemon) - before.ended + templatesMs() - before.templates;
    const own = this.#shims.reduce((sum, { pid }) => sum + threadsMs(pid), beside);
    const startCpu = cpu.usedMs() - before.cpu;
    await tasks.kill({ containerId, signal: 9 });
    await tasks.wait({ containerId });
    const ended = performance.now();
    await tasks.delete({ containerId });
    const removed = performance.now();
    await waitFor('the shim to end', () => this.#shims.length === 0);
    await sleep(20);
    figures.create.push(created - begin);
    figures.start.push(started - created);
    figures.remove.push(removed - ended);
    figures.startCpu.push(startCpu);
    figures.shimCpu.push(own);
    figures.allCpu.push(cpu.usedMs() - before.cpu);
    await removeContainer(this.#parts, containerId);
  }

  /** Runs `count` commands in a container of each kind, in turn. */
  async execLatencies(kinds: ReadonlyMap<ShimKind, ShimFigures>, count: number): Promise<void> {
    const ids: string[] = [];
    for (const kind of kinds.keys()) ids.push(await this.#run(kind));
    for (let n = 0; n < count; n++) {
      for (const [index, figures] of [...kinds.values()].entries()) {
        figures.exec.push(await this.#exec(ids[index] ?? '', `e${n}`));
      }
    }
    for (const id of ids) await this.#remove(id);
  }

  /** Milliseconds until a command's end is known. */
  async #exec(containerId: string, execId: string): Promise<number> {
    const { tasks } = this.#parts.clients;
    const spec = packJson(typeUrls.process, processOf(['true']));
    const begin = performance.now();
    await tasks.exec({ containerId, execId, spec });
    const ended = tasks.wait({ containerId, execId });
    await tasks.start({ containerId, execId });
    await ended;
    const time = performance.now() - begin;
    await tasks.deleteProcess({ containerId, execId });
    return time;
  }

  /** Logs of each kind, and what a plain pipe takes, in turn. Answers the latter, MB/s. */
  async logRates(kinds: ReadonlyMap<ShimKind, ShimFigures>, count: number): Promise<number[]> {
    const plain: number[] = [];
    for (let n = 0; n < count; n++) {
      plain.push(await this.#plainPipeRate());
      for (const [kind, { log }] of kinds) log.push(await this.#logRate(kind));
    }
    return plain;
  }

  /** MB/s from a container that writes blocks to its stdout, read here. */
  async #logRate(kind: ShimKind): Promise<number> {
    const { tasks } = this.#parts.clients;
    const containerId = await this.#container(kind, ['dd', 'if=/dev/zero', 'bs=64k', `count=${logBytes >> 16}`]);
    using stdout = new Fifo(this.#parts.dir, `${containerId}-stdout`);
    // containerd's shim wants one, too, with a reader; the few words there wait in it.
    using stderr = new Fifo(this.#parts.dir, `${containerId}-stderr`);
    await tasks.create({ containerId, stdout: stdout.path, stderr: stderr.path });
    await tasks.start({ containerId });
    const rate = await stdout.rate();
    await this.#remove(containerId);
    return rate;
  }

  /** The same without container and shim. */
  async #plainPipeRate(): Promise<number> {
    using stdout = new Fifo(this.#parts.dir, 'plain');
    const child = spawn('/bin/busybox', ['dd', 'if=/dev/zero', 'bs=64k', `count=${logBytes >> 16}`], {
      stdio: ['ignore', stdout.fd, 'ignore'],
    });
    const ended = once(child, 'exit');
    const rate = await stdout.rate();
    await ended;
    return rate;
  }

  /** Of `count` idle shims at a time. */
  async idleMemory(kind: ShimKind, count: number, figures: ShimFigures): Promise<void> {
    const ids = await Array.fromAsync({ length: count }, () => this.#run(kind));
    await sleep(settleMs);
    const pids = this.#shims.map(({ pid }) => pid);
    const isOurs = !kind.runtime.startsWith('/');
    figures.templateMiB = isOurs ? this.#templates.reduce((sum, pid) => sum + privateMiB(pid), 0) : 0;
    figures.privateMiB = mean(pids.map(privateMiB));
    figures.proportionalMiB = mean(pids.map(proportionalMiB));
    for (const id of ids) await this.#remove(id);
    await waitFor('the shims to end', () => this.#shims.length === 0);
  }

  /** Private memory of a pod's shim, where a pod is two containers that share one. Mean of `count` pods. */
  async podMemory(kind: ShimKind, count: number): Promise<number> {
    const ids: string[][] = [];
    for (let n = 0; n < count; n++) {
      const pod = await this.#run(kind, `c${this.#count + 1}`);
      ids.push([pod, await this.#run(kind, pod)]);
    }
    await sleep(settleMs);
    const all = this.#shims.reduce((sum, { pid }) => sum + privateMiB(pid), 0);
    for (const [pod = '', container = ''] of ids) {
      await this.#remove(container);
      await this.#remove(pod);
    }
    await waitFor('the shims to end', () => this.#shims.length === 0);
    return all / count;
  }
}

/** A FIFO that is open for reading and writing, and so sees no end while writers come and go. */
class Fifo implements Disposable {
  readonly path: string;
  readonly fd: number;

  constructor(dir: string, name: string) {
    const folder = join(dir, 'fifo');
    mkdirSync(folder, { recursive: true });
    this.path = join(folder, name);
    native.mkfifo(this.path, 0o600);
    this.fd = native.open(this.path, constants.O_RDWR, 0);
  }

  /** MB/s of the log that comes through, from the first byte on. */
  async rate(): Promise<number> {
    let begin = 0;
    let bytes = 0;
    // No read beyond the last byte: it would wait in a thread for ever.
    const options = { fd: this.fd, autoClose: false, highWaterMark: 1 << 16, end: logBytes - 1 };
    for await (const chunk of createReadStream(this.path, options)) {
      if (bytes === 0) begin = performance.now();
      bytes += (chunk as Buffer).length;
    }
    return bytes / 1e6 / ((performance.now() - begin) / 1e3);
  }

  [Symbol.dispose](): void {
    native.close(this.fd);
    rmSync(this.path);
  }
}
