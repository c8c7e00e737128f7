import { parseFilters } from '#common/filters/filter.ts';
import type { Labels } from '#common/labels.ts';

/** What a filter may ask of a record: fields by dotted name, and maps such as labels whose keys contain dots. */
export interface Filterable {
  readonly fields: Readonly<Record<string, string | undefined>>;
  readonly maps: Readonly<Record<string, Labels>>;
}

/**
 * A test whether a record matches any of the filters (no filter: all match).
 * @throws invalid_argument for a filter that does not parse.
 */
export function matcher(filters: readonly string[] | undefined): (record: Filterable) => boolean {
  if (!filters?.length) return () => true;
  const matches = parseFilters(filters);
  return (record) => matches((path) => valueAt(record, path));
}

/** The value under a field path, undefined where there is none. */
function valueAt(record: Filterable, path: readonly string[]): string | undefined {
  const [head, ...rest] = path;
  if (head === undefined) return undefined;
  const map = Object.hasOwn(record.maps, head) ? record.maps[head] : undefined;
  if (map) {
    const key = rest.join('.');
    return Object.hasOwn(map, key) ? map[key] : undefined;
  }
  const name = path.join('.');
  return Object.hasOwn(record.fields, name) ? record.fields[name] : undefined;
}
