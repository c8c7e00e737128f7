import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { Channel, Client } from '#common/grpc/client.ts';
import type { ImageServiceDefinition, ImageServiceHandlers } from '#proto/runtime/v1/ImageService.ts';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import type { RuntimeServiceDefinition, RuntimeServiceHandlers } from '#proto/runtime/v1/RuntimeService.ts';

/** The CRI, as the kubelet uses it. */
export interface Cri {
  readonly runtime: Client<RuntimeServiceHandlers, RuntimeServiceDefinition>;
  readonly images: Client<ImageServiceHandlers, ImageServiceDefinition>;
}

export function criOf(channel: Channel): Cri {
  return {
    runtime: channel.client<RuntimeServiceHandlers, RuntimeServiceDefinition>('runtime.v1.RuntimeService'),
    images: channel.client<ImageServiceHandlers, ImageServiceDefinition>('runtime.v1.ImageService'),
  };
}

/** A pod of the demo, driven through the CRI in the order the kubelet does it. */
export class DemoPod {
  readonly id: string;
  readonly ip: string;
  readonly #cri: Cri;
  readonly #config: PodSandboxConfig;
  readonly #signal: AbortSignal;
  readonly #containers = new Map<string, string>();

  private constructor(cri: Cri, config: PodSandboxConfig, id: string, ip: string, signal: AbortSignal) {
    this.#cri = cri;
    this.#config = config;
    this.id = id;
    this.ip = ip;
    this.#signal = signal;
  }

  /** `dir` is where the containers' log files go. */
  static async run(cri: Cri, name: string, dir: string, signal: AbortSignal): Promise<DemoPod> {
    // As the kubelet does: the runtime makes no directories outside of its own.
    const logDirectory = join(dir, 'logs', 'pods', name);
    await mkdir(logDirectory, { recursive: true });
    const config: PodSandboxConfig = {
      metadata: { name, uid: `${name}-uid`, namespace: 'default', attempt: 0 },
      hostname: name,
      logDirectory,
      labels: { app: 'berth-demo' },
      linux: {},
    };
    const { podSandboxId } = await cri.runtime.runPodSandbox({ config }, { signal });
    const { status } = await cri.runtime.podSandboxStatus({ podSandboxId }, { signal });
    const ip = status?.network?.ip ?? '';
    if (ip === '') throw new BerthError('internal', `pod ${name} has no address`);
    return new DemoPod(cri, config, podSandboxId, ip, signal);
  }

  /** Creates and starts a container that runs a shell script. */
  async start(name: string, image: string, script: string): Promise<void> {
    const { containerId } = await this.#cri.runtime.createContainer(
      {
        podSandboxId: this.id,
        sandboxConfig: this.#config,
        config: {
          metadata: { name, attempt: 0 },
          image: { image },
          command: ['sh', '-c', script],
          logPath: `${name}.log`,
          linux: {},
        },
      },
      { signal: this.#signal },
    );
    this.#containers.set(name, containerId);
    await this.#cri.runtime.startContainer({ containerId }, { signal: this.#signal });
  }

  /** Runs a command in a container; answers what it wrote. @throws BerthError when it fails */
  async exec(name: string, ...cmd: string[]): Promise<string> {
    const containerId = this.#containers.get(name) ?? '';
    const { stdout, stderr, exitCode } = await this.#cri.runtime.execSync(
      { containerId, cmd, timeout: 10 },
      { signal: this.#signal },
    );
    if (exitCode === 0) return stdout.toString().trim();
    throw new BerthError('internal', `"${cmd.join(' ')}" in ${name} ended with ${exitCode}: ${stderr.toString()}`);
  }

  /** Stops the containers as the kubelet does, with time to end by themselves, and then the sandbox. */
  async stop(): Promise<Map<string, number>> {
    const exitCodes = new Map<string, number>();
    for (const [name, containerId] of this.#containers) {
      await this.#cri.runtime.stopContainer({ containerId, timeout: 5 }, { signal: this.#signal });
      const { status } = await this.#cri.runtime.containerStatus({ containerId }, { signal: this.#signal });
      exitCodes.set(name, status?.exitCode ?? -1);
    }
    await this.#cri.runtime.stopPodSandbox({ podSandboxId: this.id }, { signal: this.#signal });
    return exitCodes;
  }

  async remove(): Promise<void> {
    await this.#cri.runtime.removePodSandbox({ podSandboxId: this.id }, { signal: this.#signal });
  }

  /** The lines of a container's log file, in the CRI's format. */
  async log(name: string): Promise<string[]> {
    const path = join(this.#config.logDirectory ?? '', `${name}.log`);
    return (await readFile(path, 'utf8')).trimEnd().split('\n');
  }
}

/** Stops and removes every pod of the runtime, as after a failed or interrupted run. */
export async function removePods(cri: Cri, signal: AbortSignal): Promise<number> {
  const { items } = await cri.runtime.listPodSandbox({}, { signal });
  for (const { id: podSandboxId } of items) {
    await cri.runtime.stopPodSandbox({ podSandboxId }, { signal });
    await cri.runtime.removePodSandbox({ podSandboxId }, { signal });
  }
  return items.length;
}
