import type { Adaptor } from './filter.ts';

/**
 * An adaptor for an object with named fields and labels: `name`, `labels.foo`, `labels."a.b/c"`.
 * A label whose key has dots may also be written without quotes.
 */
export function objectAdaptor(
  fields: Readonly<Record<string, string | undefined>>,
  labels: Readonly<Record<string, string>> = {},
): Adaptor {
  return ([field, ...rest]) => {
    if (field === undefined) return undefined;
    if (field === 'labels') return rest.length === 0 ? undefined : own(labels, rest.join('.'));
    return own(fields, [field, ...rest].join('.'));
  };
}

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
