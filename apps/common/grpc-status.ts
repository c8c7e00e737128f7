import type { Code } from './errors.ts';

/** `google.rpc.Code` numbers; gRPC and ttrpc use the same ones. */
const numbers: Readonly<Record<Code, number>> = {
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
};

const codes: ReadonlyMap<number, Code> = new Map(
  Object.entries(numbers).map(([code, number]) => [number, code as Code] as const),
);

/** The status number on the wire. `0` (OK) has no code: success isn't an error. */
export function statusOfCode(code: Code): number {
  return numbers[code];
}

/** The code of a status number; a number outside `google.rpc.Code` is `unknown`. */
export function codeOfStatus(status: number): Code {
  return codes.get(status) ?? 'unknown';
}
