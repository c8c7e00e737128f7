import { BerthError } from '#common/errors.ts';
import type { SecurityProfile } from '../cri-types.ts';

/**
 * The profile that a pod or container asks for, by the field of today or, where that isn't set, by the text that it
 * replaces (`runtime/default`, `unconfined`, `localhost/REF`). null: nothing is asked for.
 *
 * @param former the field of before, with its name for errors
 * @throws invalid_argument for a text that means nothing
 */
export function securityProfile(
  field: SecurityProfile | null,
  former: { readonly name: string; readonly value: string },
): SecurityProfile | null {
  const { name, value } = former;
  if (field !== null || value === '') return field;
  if (value === 'runtime/default' || value === 'docker/default') {
    return { profileType: 'RuntimeDefault', localhostRef: '' };
  }
  if (value === 'unconfined') return { profileType: 'Unconfined', localhostRef: '' };
  if (/^localhost\/./.test(value)) return { profileType: 'Localhost', localhostRef: value.slice('localhost/'.length) };
  throw new BerthError(
    'invalid_argument',
    `${name} ${JSON.stringify(value)}: must be runtime/default, unconfined or localhost/PROFILE`,
  );
}
