/** What a streaming URL stands for. */
export type StreamingRequest = CommandRequest | AttachRequest | PortForwardRequest;

/** Exec, a command with streams. */
export interface CommandRequest extends StreamChoice {
  readonly kind: 'exec';
  readonly containerId: string;
  readonly command: readonly string[];
}

/** The container's own process. */
export interface AttachRequest extends StreamChoice {
  readonly kind: 'attach';
  readonly containerId: string;
}

/** Which streams the client asked for. With a terminal there is no stderr. */
export interface StreamChoice {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface PortForwardRequest {
  readonly kind: 'portforward';
  readonly sandboxId: string;
  /** For clients over plain WebSockets, which can't name ports themselves. */
  readonly ports: readonly number[];
}
