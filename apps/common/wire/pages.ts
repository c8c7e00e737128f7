import type { WireTypes } from '#proto/wire.ts';
import { encode, type MessageName } from './codec.ts';

/** Few enough to be dead before V8 moves them, many enough that each page's own cost doesn't count. */
const itemsPerPage = 32;

/**
 * Encodes a message that is one long repeated field, a few items at a time: the objects that each item takes on its way
 * are garbage at once, where thousands at a time would be copied twice before they are. Encoded messages that follow each
 * other are one message with the items of all (https://protobuf.dev/programming-guides/encoding/#last-one-wins): a Buffer
 * among the items is the message of one or more, encoded before.
 */
export function encodePages<M extends MessageName, Item>(
  type: M,
  items: Iterable<Item | Buffer>,
  messageOf: (page: Item[]) => WireTypes[M]['in'],
): Buffer {
  const pages: Buffer[] = [];
  let page: Item[] = [];
  const turn = (): void => {
    if (page.length > 0) pages.push(encode(type, messageOf(page)));
    page = [];
  };
  for (const item of items) {
    if (item instanceof Buffer) {
      turn();
      pages.push(item);
    } else if (page.push(item as Item) === itemsPerPage) turn();
  }
  turn();
  return Buffer.concat(pages);
}
