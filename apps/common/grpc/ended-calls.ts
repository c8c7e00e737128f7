import type { Code } from '../errors.ts';
import { News } from '../news.ts';

/** A call that this process has answered. */
export interface EndedCall {
  /** Full name on the wire, e.g. `/runtime.v1.RuntimeService/Version`. */
  readonly method: string;
  /** As go-grpc-prometheus has it. */
  readonly type: 'unary' | 'server_stream' | 'bidi_stream';
  /** Undefined: it went well. */
  readonly code: Code | undefined;
  readonly seconds: number;
}

export const endedCalls = new News<EndedCall>('berth.grpc.call');
