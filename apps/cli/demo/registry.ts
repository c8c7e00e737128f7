import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { Blob, BuiltImage } from '#common/oci/image-archive.ts';
import { http, httpUntilOk } from './http.ts';

/** Debian's docker-registry on a loopback port, with its data below `dir`. Disposing it stops it. */
export class Registry implements AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly #stop: () => Promise<void>;

  private constructor(host: string, stop: () => Promise<void>) {
    this.host = host;
    this.#stop = stop;
  }

  static async start(dir: string, signal: AbortSignal): Promise<Registry> {
    const host = `127.0.0.1:${await freePort()}`;
    await mkdir(dir, { recursive: true });
    const configFile = join(dir, 'config.json');
    // The registry reads YAML, of which JSON is a part.
    const config = {
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(dir, 'data') } },
      http: { addr: host },
    };
    await writeFile(configFile, JSON.stringify(config));
    const child = spawn('docker-registry', ['serve', configFile], { stdio: 'ignore', detached: true });
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    const registry = new Registry(host, async () => {
      child.kill('SIGKILL');
      await exited;
    });
    try {
      await httpUntilOk(`http://${host}/v2/`, signal);
      return registry;
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw BerthError.from(error, "start Debian's docker-registry");
    }
  }

  /** Uploads an image: its blobs first, then the manifest under a tag (OCI distribution spec, "Push"). */
  async push(image: BuiltImage, repository: string, tag: string, signal: AbortSignal): Promise<void> {
    for (const blob of [image.config, image.layer]) await this.#pushBlob(blob, repository, signal);
    const { descriptor, data } = image.manifest;
    const url = `http://${this.host}/v2/${repository}/manifests/${tag}`;
    const { status } = await http(url, { method: 'PUT', body: data, contentType: descriptor.mediaType, signal });
    if (status !== 201) throw new BerthError('internal', `PUT ${url} answers ${status}`);
  }

  async #pushBlob({ descriptor, data }: Blob, repository: string, signal: AbortSignal): Promise<void> {
    const start = `http://${this.host}/v2/${repository}/blobs/uploads/`;
    const { status, headers } = await http(start, { method: 'POST', signal });
    if (status !== 202 || headers.location === undefined) {
      throw new BerthError('internal', `POST ${start} answers ${status}`);
    }
    const upload = new URL(headers.location, start);
    upload.searchParams.set('digest', descriptor.digest);
    const answer = await http(upload.href, {
      method: 'PUT',
      body: data,
      contentType: 'application/octet-stream',
      signal,
    });
    if (answer.status !== 201) throw new BerthError('internal', `PUT ${upload.href} answers ${answer.status}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new BerthError('internal', 'no free port')),
      );
    });
  });
}
