const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** A number of bytes in the unit that suits it, with one decimal above bytes: `512 B`, `2.1 MiB`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // From here on one decimal would show 1024.0.
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A span of time in its largest unit: `7s`, `3m`, `5h`, `12d`. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** How long ago an RFC 3339 time was; a dash for none. */
export function formatAge(time: string | null, now = Date.now()): string {
  return time === null ? '-' : formatSpan(now - Date.parse(time));
}

/** Algorithm and twelve digits: enough to tell digests apart by eye. */
export function shortDigest(digest: string): string {
  const colon = digest.indexOf(':');
  return colon < 0 ? digest : digest.slice(0, colon + 13);
}

/** `key=value` pairs, sorted; a dash for none. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
  return pairs.length === 0 ? '-' : pairs.sort().join(',');
}

/** Control characters shown as such: names and labels come from strangers and must not drive the terminal. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
