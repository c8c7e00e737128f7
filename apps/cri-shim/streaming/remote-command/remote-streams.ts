import type { Readable, Writable } from 'node:stream';

/** Columns and rows of the client's terminal. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** The client's end of a command, whichever protocol it speaks. */
export interface RemoteStreams {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  /** Calls back with each size of the terminal. */
  readonly onResize: (resized: (size: TerminalSize) => void) => void;
  /** Fires when the client is gone. */
  readonly gone: AbortSignal;
  /** Tells the outcome and ends the connection. */
  finish(outcome: Outcome): Promise<void>;
}

/** How a command ended: an exit code, or what kept it from running. */
export type Outcome = { readonly exitCode: number } | { readonly error: string };

/**
 * The last message on the error stream. From version 4 on it is a `metav1.Status` as JSON; before, it is the text of a
 * failure, and success is silence.
 */
export function statusMessage(outcome: Outcome, version: number): string {
  const message = 'error' in outcome ? outcome.error : exitMessage(outcome.exitCode);
  const failed = 'error' in outcome || outcome.exitCode !== 0;
  if (version < 4) return failed ? message : '';
  if (!failed) return JSON.stringify({ metadata: {}, status: 'Success' });
  if ('error' in outcome) {
    return JSON.stringify({
      metadata: {},
      status: 'Failure',
      message: `Internal error occurred: ${message}`,
      reason: 'InternalError',
      details: { causes: [{ message }] },
      code: 500,
    });
  }
  return JSON.stringify({
    metadata: {},
    status: 'Failure',
    message,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(outcome.exitCode) }] },
  });
}

function exitMessage(exitCode: number): string {
  return `command terminated with non-zero exit code: exit status ${exitCode}`;
}

/** Cuts JSON objects, one a line, out of a resize stream; what is no size is left out. */
export class SizeReader {
  readonly #resized: (size: TerminalSize) => void;
  #held = '';

  constructor(resized: (size: TerminalSize) => void) {
    this.#resized = resized;
  }

  push(chunk: Buffer): void {
    const text = this.#held + chunk.toString('latin1');
    // Go's encoder ends each object with a newline, but over WebSockets a message is an object.
    const objects = text.match(/\{[^{}]*\}/g) ?? [];
    this.#held = text.slice(text.lastIndexOf('}') + 1).slice(-1024);
    for (const object of objects) this.#read(object);
  }

  #read(object: string): void {
    try {
      const { Width, Height } = JSON.parse(object) as { Width?: unknown; Height?: unknown };
      if (isSize(Width) && isSize(Height)) this.#resized({ width: Width, height: Height });
    } catch {
      // Not JSON: no size.
    }
  }
}

/** A terminal has 16 bits for each. */
function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;
}
