/**
 * A point of time in a label, in milliseconds since the epoch; undefined for what RFC 3339 doesn't allow.
 */
export function timeOfLabel(text: string | undefined): number | undefined {
  const [, seconds, fraction = '', zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text ?? '') ?? [];
  if (seconds === undefined) return undefined;
  const time = Date.parse(`${seconds}.${fraction.slice(0, 3).padEnd(3, '0')}${zone}`);
  return Number.isNaN(time) ? undefined : time;
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const part = String.raw`(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)`;
const whole = new RegExp(`^[-+]?(?:0|(?:${part})+)$`);

/** Milliseconds of a length of time as Go writes it (time.ParseDuration), `-1.5h`, `1m30s`; undefined for other text. */
export function durationOfLabel(text: string): number | undefined {
  if (!whole.test(text)) return undefined;
  let ms = 0;
  for (const [, amount, unit = ''] of text.matchAll(new RegExp(part, 'g'))) ms += Number(amount) * (unitMs[unit] ?? 0);
  return text.startsWith('-') ? -ms : ms;
}
