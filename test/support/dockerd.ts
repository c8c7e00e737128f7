import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { baseLayer } from './busybox-image.ts';
import { Daemon } from './daemon.ts';

export interface DockerResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const reading = { reject: false, timeout: 60_000, stripFinalNewline: false } as const;

/**
 * Docker warns on a client's stderr where the machine doesn't forward IPv4. In a network namespace of its own the
 * machine's setting doesn't count, and stays as it is.
 */
const ownNetwork = ['unshare', '--net', 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward && exec "$@"', 'sh'];

export interface DockerdOptions {
  /** Everything it keeps is below this folder. */
  readonly dir: string;
  /** Socket of berthd, or of containerd. */
  readonly containerd: string;
  readonly namespace: string;
}

/**
 * Debian's Docker Engine on a daemon that speaks containerd's API. It has no network and touches no iptables rules;
 * containers outlive it (live-restore).
 */
export class Dockerd implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly #dir: string;
  readonly #env: Readonly<Record<string, string>>;
  /** What it makes outside of its folder, wherever that is, and the machine didn't have before. */
  readonly #strays: readonly string[];

  private constructor(daemon: Daemon, dir: string, strays: readonly string[]) {
    this.daemon = daemon;
    this.#dir = dir;
    this.#strays = strays;
    this.#env = { DOCKER_HOST: `unix://${daemon.socket}`, DOCKER_CONFIG: join(dir, 'config') };
  }

  static async start({ dir: suiteDir, containerd, namespace }: DockerdOptions): Promise<Dockerd> {
    const dir = join(suiteDir, 'docker');
    mkdirSync(dir, { recursive: true });
    // The machine's own settings mustn't count.
    const settings = join(dir, 'daemon.json');
    writeFileSync(settings, '{}');
    const socket = join(dir, 'docker.sock');
    const strays = ['/etc/docker/key.json', '/run/docker/plugins', '/run/docker'].filter((path) => !existsSync(path));
    const daemon = await Daemon.start({
      command: [
        ...ownNetwork,
        ...['dockerd', '--config-file', settings, '--host', `unix://${socket}`, '--pidfile', join(dir, 'pid')],
        ...['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec')],
        ...['--containerd', containerd, '--containerd-namespace', namespace],
        ...['--containerd-plugins-namespace', `${namespace}-plugins`, '--cgroup-parent', `/${namespace}`],
        ...['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
        ...['--live-restore', '--storage-driver', 'overlay2'],
      ],
      socket,
      logPath: join(suiteDir, 'logs', 'dockerd.log'),
    });
    return new Dockerd(daemon, dir, strays);
  }

  /** Makes an image of the machine's busybox. */
  async importBusybox(name: string): Promise<void> {
    const { stderr, exitCode } = await execa('docker', ['import', '-', name], {
      ...reading,
      env: this.#env,
      input: baseLayer(),
    });
    if (exitCode !== 0) throw new Error(`docker import: ${stderr}`);
  }

  /** Runs a command of the client and returns what it printed, without the last line's end; throws when it fails. */
  async run(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}\n${stdout}${stderr}`);
    return stdout.trimEnd();
  }

  /** Runs a command of the client, whatever its exit code. */
  async try(...args: readonly string[]): Promise<DockerResult> {
    const { exitCode = 137, stdout, stderr } = await this.start(...args);
    return { code: exitCode, stdout, stderr };
  }

  /** Starts a command of the client, whose stdin stays open. */
  start(...args: readonly string[]): ResultPromise<typeof reading> {
    return execa('docker', args, { ...reading, env: this.#env });
  }

  /** A field of a container by its Go template. */
  async inspect(container: string, template: string): Promise<string> {
    return await this.run('inspect', '--format', `{{${template}}}`, container);
  }

  /** Stops it, and removes what it leaves lying about. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.stop();
    // Each of its runs leaves a socket of its network library.
    for (const path of [join(this.#dir, 'exec', 'libnetwork'), ...this.#strays]) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
