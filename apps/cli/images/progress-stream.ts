import { randomUUID } from 'node:crypto';
import { decode, encode } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import type { Session } from '../session.ts';

/** What the daemon tells of a transfer (containerd's api/types/transfer/progress.proto). */
export type ProgressMessage = WireTypes['containerd.types.transfer.Progress']['out'];

/** A stream that a transfer is told to report to; disposing it closes it. */
export interface ProgressStream extends AsyncDisposable {
  readonly id: string;
}

/** Opens the stream; `onMessage` hears everything that comes before it is disposed of. */
export async function openProgress(
  session: Session,
  onMessage: (message: ProgressMessage) => void,
): Promise<ProgressStream> {
  const id = `progress-${randomUUID()}`;
  const leave = new AbortController();
  const { namespace } = session;
  const stream = session.core.streaming.stream({ namespace, signal: AbortSignal.any([session.signal, leave.signal]) });
  const type = 'containerd.services.streaming.v1.StreamInit';
  await stream.send({ type_url: type, value: Buffer.from(encode(type, { id })) });
  const answers = stream[Symbol.asyncIterator]();
  // The daemon's first answer says that the id is known; only then may a transfer name it.
  await answers.next();
  const heard = (async () => {
    for await (const { value } of { [Symbol.asyncIterator]: () => answers }) {
      onMessage(decode('containerd.types.transfer.Progress', value as Buffer));
    }
  })();
  // A transfer that fails may leave the stream broken: why it failed, its own call tells.
  const over = heard.catch(() => undefined);
  return {
    id,
    async [Symbol.asyncDispose]() {
      // The daemon has ended the stream before it answered the transfer; one that hasn't isn't waited for.
      const timer = setTimeout(() => leave.abort(), 500);
      await over;
      clearTimeout(timer);
    },
  };
}
