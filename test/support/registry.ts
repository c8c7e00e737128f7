import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Blob, TestImage } from './busybox-image.ts';
import { waitFor } from './wait-for.ts';

/** Debian's docker-registry on a loopback port, without TLS and without accounts. */
export class Registry implements AsyncDisposable {
  /** `127.0.0.1:PORT`, as it stands in image references. */
  readonly host: string;
  readonly #process: ChildProcess;
  readonly #data: string;

  private constructor(host: string, data: string, child: ChildProcess) {
    this.host = host;
    this.#data = data;
    this.#process = child;
  }

  static async start(dir: string): Promise<Registry> {
    const port = await freePort();
    const host = `127.0.0.1:${port}`;
    const root = join(dir, 'registry');
    mkdirSync(root, { recursive: true });
    const config = join(root, 'config.json');
    const data = join(root, 'data');
    // The configuration is YAML, of which JSON is a part.
    const settings = {
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } },
      http: { addr: host },
    };
    writeFileSync(config, JSON.stringify(settings));
    const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
    const registry = new Registry(host, data, child);
    try {
      await waitFor('the registry to answer', () =>
        fetch(`http://${host}/v2/`).then(
          ({ ok }) => ok,
          () => false,
        ),
      );
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw error;
    }
    return registry;
  }

  /** Returns the reference under which the image can be pulled. */
  async push(image: TestImage, name: string, tag = 'latest'): Promise<string> {
    for (const each of [image.config, ...image.layers]) await this.#pushBlob(each, name);
    const { mediaType, data } = image.manifest;
    await this.#put(`/v2/${name}/manifests/${tag}`, mediaType, data);
    return `${this.host}/${name}:${tag}`;
  }

  /** Changes one byte of a blob that the registry goes on serving under its old digest. */
  corrupt({ digest, data }: Blob): void {
    const hex = digest.slice('sha256:'.length);
    const changed = Buffer.from(data);
    changed[changed.length >> 1] = (changed[changed.length >> 1] as number) ^ 1;
    writeFileSync(join(this.#data, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data'), changed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill();
    await exited;
  }

  async #pushBlob({ digest, data }: Blob, name: string): Promise<void> {
    const start = await fetch(`http://${this.host}/v2/${name}/blobs/uploads/`, { method: 'POST' });
    const location = new URL(start.headers.get('location') ?? '', `http://${this.host}`);
    location.searchParams.set('digest', digest);
    await this.#put(location.pathname + location.search, 'application/octet-stream', data);
  }

  async #put(path: string, mediaType: string, data: Buffer): Promise<void> {
    const response = await fetch(`http://${this.host}${path}`, {
      method: 'PUT',
      headers: { 'content-type': mediaType },
      body: new Uint8Array(data),
    });
    if (response.status !== 201) throw new Error(`PUT ${path}: ${response.status} ${await response.text()}`);
  }
}

/** A TCP port of the loopback address that nobody uses now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject()));
    });
  });
}
