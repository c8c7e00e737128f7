import { isDeepStrictEqual } from 'node:util';

/** The smallest part in which two values differ, with the path to it. */
export function differingPart(
  ours: unknown,
  theirs: unknown,
  path = '',
): { path: string; ours: unknown; theirs: unknown } {
  if (isObject(ours) && isObject(theirs) && Array.isArray(ours) === Array.isArray(theirs)) {
    const keys = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])];
    const differing = keys.filter((key) => !isDeepStrictEqual(ours[key], theirs[key]));
    const [key] = differing;
    if (differing.length === 1 && key !== undefined) {
      return differingPart(ours[key], theirs[key], path === '' ? key : `${path}.${key}`);
    }
  }
  return { path, ours, theirs };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
