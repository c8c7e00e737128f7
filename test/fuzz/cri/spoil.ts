import type { Field } from '#common/wire/schema.ts';
import { messages } from '#proto/wire.ts';
import type { Random } from '../../support/random.ts';
import { fieldValue, type Grounds } from './values.ts';

type Message = Record<string, unknown>;

/** A copy of a message of `type` in which some fields, anywhere below it, have other values; never those in `kept`. */
export function spoiled(
  type: string,
  message: object,
  times: number,
  kept: ReadonlySet<string>,
  random: Random,
  grounds: Grounds,
): Message {
  const copy = structuredClone(message) as Message;
  for (let n = 0; n < times; n++) spoil(type, copy, kept, random, grounds);
  return copy;
}

function spoil(type: string, message: Message, kept: ReadonlySet<string>, random: Random, grounds: Grounds): void {
  const fields = fieldsOf(type).filter(([, name]) => !kept.has(name));
  if (fields.length === 0) return;
  const field = random.pick(fields);
  const [, name, rule, kind, reference = ''] = field;
  const below = message[name];
  if (kind === 'message' && rule === 0 && random.chance(0.8)) {
    const child = (typeof below === 'object' && below !== null ? below : {}) as Message;
    message[name] = child;
    spoil(reference, child, kept, random, grounds);
  } else message[name] = fieldValue(field, random, grounds);
}

function fieldsOf(type: string): readonly Field[] {
  return messages[type as keyof typeof messages];
}
