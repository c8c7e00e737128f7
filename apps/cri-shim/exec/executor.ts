import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { RemoteStreams } from '../streaming/remote-command/remote-streams.ts';

/** What a command run by `execSync` left; both streams together fit a message of 16 MiB. */
export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number;
}

/** Runs commands in containers that run. Disposed of, nothing is left of those that have ended. */
export interface Executor extends AsyncDisposable {
  /** Ends the commands that an earlier process of this daemon left; nobody waits for them any more. */
  recover(): Promise<void>;

  /**
   * Runs `command` beside the container's own process, with that process's environment, user and limits, and waits for
   * its end. Output beyond 16 MiB is dropped, and the stream's last line says so. A process that the command leaves
   * behind and that holds its output open is waited for a moment only.
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

  /**
   * Runs `command` with a client's streams, and answers its exit code once its output has been taken. A client that
   * leaves takes the command along: it is killed with all that it started.
   *
   * @throws `not_found` when the command or the container doesn't exist, `canceled` when the client has left.
   */
  stream(
    containerId: string,
    spec: RuntimeSpec,
    command: readonly string[],
    tty: boolean,
    client: RemoteStreams,
  ): Promise<number>;
}
