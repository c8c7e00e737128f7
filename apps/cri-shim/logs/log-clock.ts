/**
 * Times for log lines: RFC 3339 in the local zone with nine digits after the second, as
 * `2026-11-21T06:02:38.000120300+01:00`. Steps of the monotonic clock between readings of the wall clock, which
 * Node knows by the millisecond only.
 */
export class LogClock {
  #wallMs = 0;
  #anchorNs = 0n;
  #second = Number.NaN;
  #prefix = '';
  #zone = '';

  now(): string {
    const mono = process.hrtime.bigint();
    const wallMs = Date.now();
    let elapsedNs = Number(mono - this.#anchorNs);
    const drift = this.#wallMs + elapsedNs / 1e6 - wallMs;
    if (drift < 0 || drift > 2 || elapsedNs > 3.6e12) {
      this.#wallMs = wallMs;
      this.#anchorNs = mono;
      elapsedNs = 0;
    }
    const ns = (this.#wallMs % 1000) * 1e6 + elapsedNs;
    const second = Math.floor(this.#wallMs / 1000) + Math.floor(ns / 1e9);
    if (second !== this.#second) this.#setSecond(second);
    return `${this.#prefix}${String(ns % 1e9).padStart(9, '0')}${this.#zone}`;
  }

  #setSecond(second: number): void {
    const at = new Date(second * 1000);
    const offset = -at.getTimezoneOffset();
    this.#second = second;
    this.#prefix = new Date(second * 1000 + offset * 60_000).toISOString().slice(0, 20);
    this.#zone = offset === 0 ? 'Z' : zoneText(offset);
  }
}

function zoneText(minutes: number): string {
  const size = Math.abs(minutes);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
