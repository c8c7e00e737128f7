/** What came of the checks and tests so far. */
export class Tally {
  #passed = 0;
  readonly failures: string[] = [];
  readonly skips: { readonly name: string; readonly reason: string }[] = [];

  get passed(): number {
    return this.#passed;
  }

  pass(): void {
    this.#passed++;
  }

  fail(name: string): void {
    this.failures.push(name);
  }

  skip(name: string, reason: string): void {
    this.skips.push({ name, reason });
  }
}
