import { Counter, Histogram, type Registry } from 'prom-client';
import type { Code } from '../errors.ts';
import { endedCalls } from '../grpc/ended-calls.ts';

/**
 * Figures of the gRPC calls that this process answers, under the names of go-grpc-prometheus, which containerd uses:
 * dashboards for it work. Disposing the answer stops the counting.
 */
export function countCalls(registry: Registry): Disposable {
  const labelNames = ['grpc_type', 'grpc_service', 'grpc_method'] as const;
  const handled = new Counter({
    name: 'grpc_server_handled_total',
    help: 'RPCs completed on the server, whether they went well or not.',
    labelNames: [...labelNames, 'grpc_code'] as const,
    registers: [registry],
  });
  const seconds = new Histogram({
    name: 'grpc_server_handling_seconds',
    help: 'Time from the first message of an RPC to its end.',
    labelNames,
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
    registers: [registry],
  });
  return endedCalls.follow((call) => {
    const [, service = '', method = ''] = call.method.split('/');
    const labels = { grpc_type: call.type, grpc_service: service, grpc_method: method };
    handled.inc({ ...labels, grpc_code: codeName(call.code) });
    seconds.observe(labels, call.seconds);
  });
}

/** As Go's `codes.Code.String()`: `NotFound`, `OK`. */
function codeName(code: Code | undefined): string {
  return (code ?? 'o_k').replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
}
