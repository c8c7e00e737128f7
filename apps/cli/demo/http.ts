import type { IncomingHttpHeaders } from 'node:http';
import { BerthError } from '#common/errors.ts';
import { nodeHttp } from '#common/node-http.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface HttpRequest {
  readonly method?: string;
  readonly body?: Uint8Array;
  readonly contentType?: string;
  readonly signal: AbortSignal;
}

/** An agent of our own ignores proxy settings of the environment: all addresses here are on this machine. */
const agent = new nodeHttp.Agent({ keepAlive: false });
const timeoutMs = 10_000;

/** One HTTP request to an address of this machine. @throws BerthError naming the URL */
export async function http(url: string, { method = 'GET', body, contentType, signal }: HttpRequest): Promise<Answer> {
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const outgoing = nodeHttp.request(
        url,
        {
          method,
          agent,
          signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
          headers: {
            'content-length': body?.length ?? 0,
            ...(contentType === undefined ? {} : { 'content-type': contentType }),
          },
        },
        (incoming) => {
          const parts: Buffer[] = [];
          incoming.on('data', (part: Buffer) => parts.push(part));
          incoming.on('error', reject);
          incoming.on('end', () => {
            const { statusCode: status = 0, headers } = incoming;
            resolve({ status, headers, body: Buffer.concat(parts).toString() });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  } catch (error) {
    throw BerthError.from(error, `${method} ${url}`);
  }
}

/** {@link http}, again and again until it answers 200. */
export async function httpUntilOk(url: string, signal: AbortSignal, tries = 50): Promise<Answer> {
  for (let n = 1; ; n++) {
    try {
      const answer = await http(url, { signal });
      if (answer.status === 200) return answer;
      throw new BerthError('unavailable', `${url} answers ${answer.status}`);
    } catch (error) {
      if (signal.aborted || n === tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
