import type { Any } from '#common/typeurl.ts';

/** One client's stream of messages both ways, by the id that the client gave it. */
export interface ClientStream {
  /** Sends a message; waits while the client doesn't read. @throws canceled when the client has gone. */
  send(message: Any): Promise<void>;
  /** The next message, undefined when the client has said that there are no more. @throws canceled when it has gone. */
  receive(): Promise<Any | undefined>;
  /** Ends the call; what was sent still arrives. */
  close(): void;
}
