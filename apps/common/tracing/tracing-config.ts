import { type Infer, integer, string, table } from '../config/schema.ts';
import { BerthError } from '../errors.ts';

/** `[tracing]` of both daemons' configuration files. */
export const tracingSchema = table({
  endpoint: string(''),
  samplingRatePerMillion: integer(0, { max: 1_000_000 }),
});

export type TracingConfig = Infer<typeof tracingSchema>;

/** @throws invalid_argument naming the key and the remedy */
export function checkTracing({ endpoint }: TracingConfig): void {
  if (endpoint === '') return;
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.hostname !== '') return;
  throw new BerthError(
    'invalid_argument',
    `tracing.endpoint "${endpoint}": want the URL of an OTLP collector that speaks gRPC, such as http://127.0.0.1:4317`,
  );
}
