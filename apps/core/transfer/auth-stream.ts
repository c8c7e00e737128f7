import { BerthError } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import { sameType } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import type { CredentialSource, Credentials } from '../registry/credentials.ts';
import { orAborted } from '../streaming/or-aborted.ts';
import type { ClientStream } from '../streaming/stream.ts';

const REQUEST = 'containerd.types.transfer.AuthRequest';
const RESPONSE = 'containerd.types.transfer.AuthResponse';

/** Credentials that the client is asked for over a stream of its own, one question after another. */
export function credentialsFromStream(stream: ClientStream, reference: string, signal: AbortSignal): CredentialSource {
  const queue = new KeyedQueue();
  return (host, challenges) =>
    queue.run('', async () => {
      const value = Buffer.from(encode(REQUEST, { host, reference, wwwauthenticate: [...challenges] }));
      await orAborted(stream.send({ type_url: REQUEST, value }), signal);
      const answer = await orAborted(stream.receive(), signal);
      if (answer === undefined) return undefined;
      if (!sameType(answer.type_url, RESPONSE)) {
        throw new BerthError('invalid_argument', `expected ${RESPONSE} on the stream, not ${answer.type_url}`);
      }
      const { authType, username, secret } = decode(RESPONSE, answer.value);
      return credentials(authType, username, secret);
    });
}

function credentials(type: string, username: string, secret: string): Credentials | undefined {
  if (secret === '') return undefined;
  if (type === 'CREDENTIALS') return { kind: 'password', username, password: secret };
  if (type === 'HEADER') return { kind: 'header', value: secret };
  return type === 'REFRESH' ? { kind: 'refresh', token: secret } : undefined;
}
