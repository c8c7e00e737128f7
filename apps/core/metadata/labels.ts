import { BerthError } from '#common/errors.ts';
import { type Labels, validateLabel } from '#common/labels.ts';

/**
 * Labels as they are kept: an empty value is the same as no label, as in containerd.
 * @throws invalid_argument for a label that is too long.
 */
export function cleanLabels(labels: Labels | undefined): Labels {
  const kept: [string, string][] = [];
  for (const [key, value] of Object.entries(labels ?? {})) {
    validateLabel(key, value);
    if (value !== '') kept.push([key, value]);
  }
  return Object.fromEntries(kept);
}

/** The column's JSON, keys in order so that equal labels are equal text. */
export function labelsToColumn(labels: Labels): string {
  return JSON.stringify(Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** @throws when the column doesn't hold what {@link labelsToColumn} writes. */
export function labelsFromColumn(column: string): Labels {
  const labels: unknown = JSON.parse(column);
  if (isLabels(labels)) return labels;
  throw new BerthError('data_loss', `"${column.slice(0, 64)}" are no labels`);
}

function isLabels(value: unknown): value is Labels {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  for (const key in value) if (typeof (value as Record<string, unknown>)[key] !== 'string') return false;
  return true;
}

/** Splits `labels.<key>` (keys contain dots themselves); undefined for another path. */
export function mapKeyOf(path: string, field: string): string | undefined {
  return path.startsWith(`${field}.`) ? path.slice(field.length + 1) : undefined;
}

/**
 * Applies a field mask to a record whose labels are its only mutable field: all of them when `fieldpaths` is empty.
 * @throws invalid_argument for any path but `labels` and `labels.<key>`.
 */
export function updateLabels(
  current: Labels,
  input: Labels,
  fieldpaths: readonly string[] | undefined,
  record: string,
): Labels {
  if (!fieldpaths?.length) return cleanLabels(input);
  let labels = current;
  for (const path of fieldpaths) {
    const key = mapKeyOf(path, 'labels');
    if (key !== undefined) labels = { ...labels, [key]: input[key] ?? '' };
    else if (path === 'labels') labels = input;
    else throw new BerthError('invalid_argument', `cannot update field "${path}" of ${record}: only labels change`);
  }
  return cleanLabels(labels);
}
