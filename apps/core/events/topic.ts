import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';

/** Fails with `invalid_argument` unless the topic is `/` and identifiers separated by `/`. */
export function validateTopic(topic: string): void {
  if (topic === '') throw new BerthError('invalid_argument', 'event topic must not be empty');
  if (!topic.startsWith('/')) {
    throw new BerthError('invalid_argument', `event topic ${JSON.stringify(topic)} must start with '/'`);
  }
  if (topic.length === 1) {
    throw new BerthError('invalid_argument', `event topic "/" must have at least one component`);
  }
  for (const component of topic.slice(1).split('/')) {
    try {
      validateIdentifier(component);
    } catch (error) {
      throw BerthError.from(error, `event topic ${JSON.stringify(topic)}, component ${JSON.stringify(component)}`);
    }
  }
}
