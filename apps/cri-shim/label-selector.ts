type Labels = Readonly<Record<string, string>>;

/** Whether all labels of the selector are there with the same value; an empty selector matches everything. */
export function matchesLabels(labels: Labels, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
