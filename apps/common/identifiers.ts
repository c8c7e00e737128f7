import { BerthError } from './errors.ts';

const maxIdentifierLength = 76;
const identifier = /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/;

/**
 * Checks a container, namespace, lease or exec id by containerd's rules: 1 to 76 letters and digits, with single
 * `.`, `_` or `-` between them. Such an id is safe as a file name.
 * @throws BerthError `invalid_argument`, naming `what` and the id
 */
export function validateIdentifier(id: string, what = 'identifier'): string {
  if (id === '') throw new BerthError('invalid_argument', `${what} must not be empty`);
  if (id.length > maxIdentifierLength) {
    throw new BerthError(
      'invalid_argument',
      `${what} "${id}" is longer than the maximum of ${maxIdentifierLength} characters`,
    );
  }
  if (!identifier.test(id)) {
    throw new BerthError(
      'invalid_argument',
      `${what} "${id}" must be letters and digits with single ".", "_" or "-" between them`,
    );
  }
  return id;
}
