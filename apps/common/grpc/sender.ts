import { Writable } from 'node:stream';
import { BerthError } from '../errors.ts';
import type { CallStatus } from './context.ts';

/** The call below a server's call of grpc-js, which has no option for what is done with it here. */
export interface Sender {
  /** Of node:http2; ended by a status. */
  readonly stream: Writable;
  /** Never calls `done` when the call is over, or ends it because the message can't be sent. */
  sendMessage(message: unknown, done: () => void): void;
  /** The message behind its prefix. */
  serializeMessage(message: unknown): Buffer;
  /** Ends the call behind the messages that were sent, unless it is over. */
  sendStatus(status: CallStatus & { readonly metadata: null }): void;
}

/** @throws internal with a version of grpc-js that sends by other means */
export function senderOf(call: object): Sender {
  const sender: unknown = Reflect.get(call, 'call');
  if (isSender(sender)) return sender;
  throw new BerthError('internal', 'this version of grpc-js sends messages by other means');
}

function isSender(value: unknown): value is Sender {
  if (typeof value !== 'object' || value === null) return false;
  const { stream, sendMessage, serializeMessage, sendStatus } = value as Partial<Sender>;
  if (!(stream instanceof Writable)) return false;
  return [sendMessage, serializeMessage, sendStatus].every((member) => typeof member === 'function');
}
