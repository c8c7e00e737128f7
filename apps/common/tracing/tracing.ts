/** Text that goes with a call, by lower-case name. */
export type TraceHeaders = Readonly<Record<string, string>>;

/** Spans, as OpenTelemetry has them. What fails within one is noted in it. */
export interface Tracing {
  /** Runs what answers a call, within a span that goes on with the caller's trace. */
  served<T>(method: string, header: (name: string) => string | undefined, run: () => Promise<T>): Promise<T>;
  /** Runs a call to another process within a span; the headers let that process go on with the trace. */
  called<T>(method: string, run: (headers: TraceHeaders) => Promise<T>): Promise<T>;
  /** Runs a step of an operation within a span. */
  step<T>(name: string, attributes: Readonly<Record<string, string>>, run: () => Promise<T>): Promise<T>;
}

let current: Tracing | undefined;

/** Undefined unless the process traces: then nothing is to be done or loaded for it. */
export function tracing(): Tracing | undefined {
  return current;
}

/** Has the whole process trace, until the answer is disposed. */
export function install(chosen: Tracing): Disposable {
  current = chosen;
  return {
    [Symbol.dispose]: () => {
      current = undefined;
    },
  };
}
