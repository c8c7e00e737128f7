import { sendBytes } from '../streaming/byte-stream.ts';
import type { ClientStream } from '../streaming/stream.ts';

/** Lines on their way to a client that asked to see what is said to the registry. */
export interface LogStream extends Disposable {
  write(line: string): void;
}

/** A log that the client takes when it likes to: a transfer neither waits for it nor fails with it. */
export function openLogStream(stream: ClientStream, signal: AbortSignal): LogStream {
  const waiting: Buffer[] = [];
  let ended = false;
  let wake = Promise.withResolvers<void>();
  const lines = async function* (): AsyncGenerator<Buffer> {
    for (;;) {
      const [line] = waiting.splice(0, 1);
      if (line !== undefined) yield line;
      else if (ended) return;
      else await wake.promise;
    }
  };
  void sendBytes(stream, lines(), signal).catch(() => undefined);
  const stir = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  return {
    write: (line) => {
      waiting.push(Buffer.from(`${line}\n`));
      stir();
    },
    [Symbol.dispose]: () => {
      ended = true;
      stir();
    },
  };
}
