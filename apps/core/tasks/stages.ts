/** How long each stage of an operation took, for its log line. */
export class Stages {
  /** Milliseconds by stage, to a tenth. */
  readonly ms: Record<string, number> = {};
  #last = performance.now();

  /** Ends a stage that began with the end of the one before. */
  end(stage: string): void {
    const now = performance.now();
    this.ms[stage] = Math.round((now - this.#last) * 10) / 10;
    this.#last = now;
  }
}
