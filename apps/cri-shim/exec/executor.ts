import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';

/** What a command run by `execSync` left. Each stream holds at most 16 MiB. */
export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number;
}

/** Runs commands in containers that run. */
export interface Executor {
  /**
   * Runs `command` beside the container's own process, with that process's environment, user and limits, and waits for
   * its end. Output beyond 16 MiB per stream is dropped and a last line says so.
   *
   * @param timeoutMs 0: no limit.
   * @throws `deadline_exceeded` when the time is up (the command is killed), `not_found` when the command or the
   * container doesn't exist, `canceled` when `signal` fires.
   */
  execSync(
    containerId: string,
    spec: RuntimeSpec,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult>;
}
