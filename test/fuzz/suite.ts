/** What the command line says about a run. */
export interface FuzzOptions {
  /** The same seed gives the same sequences. */
  readonly seed: number;
  /** Milliseconds after which no new sequence begins. */
  readonly budgetMs: number;
  /** Sequences at most. */
  readonly maxSequences?: number;
  /** Further words of the command line, for the suite itself. */
  readonly args: readonly string[];
}

/** How a run went. */
export interface FuzzReport {
  readonly sequences: number;
  readonly steps: number;
  /** One text per failure, with the sequence that shows it. */
  readonly failures: readonly string[];
}

/** A property that holds for any sequence of inputs; a row of the table in main.ts. */
export interface FuzzSuite {
  readonly about: string;
  run(options: FuzzOptions): Promise<FuzzReport>;
}
