import type { Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import type { Registry } from 'prom-client';
import { BerthError, messageOf } from '../errors.ts';
import { bindSocket } from '../grpc/socket.ts';
import type { Logger } from '../log.ts';
import { nodeHttp } from '../node-http.ts';
import type { MetricsAddress } from './metrics-address.ts';

/** Serves `GET /metrics` in Prometheus' text format. */
export class MetricsServer implements AsyncDisposable {
  readonly #server: Server;
  #socket: AsyncDisposable | undefined;

  private constructor(registry: Registry, log: Logger) {
    this.#server = nodeHttp.createServer({ requestTimeout: 10_000 }, async (request, response) => {
      const found = request.url?.split('?', 1)[0] === '/metrics';
      if (!found || request.method !== 'GET') {
        response.writeHead(found ? 405 : 404).end(found ? 'GET only\n' : 'metrics are at /metrics\n');
        return;
      }
      try {
        const text = await registry.metrics();
        response.writeHead(200, { 'content-type': registry.contentType }).end(text);
      } catch (error) {
        log.warn({ err: error }, 'metrics could not be collected');
        response.writeHead(500).end(`${messageOf(error)}\n`);
      }
    });
  }

  /** @throws BerthError naming `metrics.address` */
  static async start(address: MetricsAddress, registry: Registry, log: Logger): Promise<MetricsServer> {
    const server = new MetricsServer(registry, log);
    try {
      if ('path' in address) server.#socket = await bindSocket(address.path, 0o600, (path) => server.#listen({ path }));
      else await server.#listen(address);
    } catch (error) {
      throw BerthError.from(error, 'metrics.address');
    }
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#socket?.[Symbol.asyncDispose]();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #listen(options: ListenOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(options, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }
}
