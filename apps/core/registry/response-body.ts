import { BerthError } from '#common/errors.ts';
import { redactUrl } from './credentials.ts';
import { type HttpResponse, transportError } from './http.ts';

/** Reads a whole body. @throws resource_exhausted when it has more than `limit` bytes; unavailable when it breaks off. */
export async function readBounded(response: HttpResponse, limit: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of response.body as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > limit) {
        const message = `${redactUrl(response.url)} answers with more than ${limit} bytes`;
        throw new BerthError('resource_exhausted', message);
      }
      pieces.push(piece);
    }
  } catch (error) {
    throw transportError(response.url, error);
  } finally {
    response.body.destroy();
  }
  return Buffer.concat(pieces);
}

/** Reads what is left of a short answer so that its connection can be used again. */
export async function drain(response: HttpResponse): Promise<void> {
  await readBounded(response, 64 * 1024).catch(() => undefined);
}

/** The first message of a registry's error document (distribution spec, "Error Codes"), for people. */
export async function errorDetail(response: HttpResponse): Promise<string> {
  const body = await readBounded(response, 64 * 1024).catch(() => Buffer.alloc(0));
  try {
    const { errors } = JSON.parse(body.toString('utf8')) as { errors?: { code?: unknown; message?: unknown }[] };
    const [first] = errors ?? [];
    const text = [first?.code, first?.message].filter((part) => typeof part === 'string' && part !== '').join(': ');
    return text.slice(0, 300);
  } catch {
    return '';
  }
}
