/** Fields whose keys are data, not field names. */
const maps = new Set(['labels', 'annotations', 'sysctls', 'unified']);

/**
 * A CRI message as Go prints it: names as in the .proto file, empty fields left out. Tools that read `info` were
 * written for that form.
 */
export function protoJson(message: object): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(message)) {
    if (isEmpty(value)) continue;
    const key = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    result[key] = maps.has(name) ? value : convert(value);
  }
  return result;
}

function convert(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(convert);
  return typeof value === 'object' && value !== null ? protoJson(value) : value;
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === '0' || value === false) {
    return true;
  }
  return typeof value === 'object' && Object.keys(value).length === 0;
}
