/** Items of one message of a list that streams: small enough for the message limit whatever labels they carry. */
const itemsPerMessage = 32;

/**
 * A list in messages of a few items each, the last of which may be the only one and empty: a client learns even so that
 * the list is whole. Items are made as they are sent; the reader's pace is the writer's.
 */
export function* inMessages<T>(items: readonly T[]): Generator<T[]> {
  for (let at = 0; at === 0 || at < items.length; at += itemsPerMessage) yield items.slice(at, at + itemsPerMessage);
}
