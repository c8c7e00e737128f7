import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';

/** @throws invalid_argument unless the topic is identifiers, each behind a `/`. */
export function validateTopic(topic: string): void {
  const name = `event topic ${JSON.stringify(topic)}`;
  if (topic === '') throw new BerthError('invalid_argument', 'event topic must not be empty');
  if (!topic.startsWith('/')) throw new BerthError('invalid_argument', `${name} must start with '/'`);
  if (topic.length === 1) throw new BerthError('invalid_argument', `${name} must have at least one component`);
  for (const component of topic.slice(1).split('/')) validateIdentifier(component, `${name}: component`);
}
