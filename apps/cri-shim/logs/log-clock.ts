/** Two readings of clocks take a fraction of it. */
const anchorNs = 200_000n;
/** A machine that is too busy for the first is busy for a moment only. */
const anchorTries = 20;

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
    let elapsedNs = Number(process.hrtime.bigint() - this.#anchorNs);
    const drift = this.#wallMs + elapsedNs / 1e6 - Date.now();
    if (drift < 0 || drift > 2 || elapsedNs > 3.6e12) {
      this.#anchor();
      elapsedNs = 0;
    }
    const ns = (this.#wallMs % 1000) * 1e6 + elapsedNs;
    const second = Math.floor(this.#wallMs / 1000) + Math.floor(ns / 1e9);
    if (second !== this.#second) this.#setSecond(second);
    return `${this.#prefix}${String(ns % 1e9).padStart(9, '0')}${this.#zone}`;
  }

  /** Reads both clocks as one: a pause between them would have times run ahead, and go back at the next reading. */
  #anchor(): void {
    for (let tries = 0; tries < anchorTries; tries += 1) {
      this.#anchorNs = process.hrtime.bigint();
      this.#wallMs = Date.now();
      if (process.hrtime.bigint() - this.#anchorNs < anchorNs) return;
    }
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
