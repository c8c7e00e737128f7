import {
  type Context,
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { BerthError, messageOf } from '../errors.ts';
import { statusOfCode } from '../grpc-status.ts';
import type { Logger } from '../log.ts';
import { version } from '../version.ts';
import type { TraceHeaders, Tracing } from './tracing.ts';
import type { TracingConfig } from './tracing-config.ts';

type Header = (name: string) => string | undefined;

/** Traces with OpenTelemetry's SDK, by W3C Trace Context, and exports over OTLP. Nothing waits for the collector. */
export class OpenTelemetry implements Tracing, AsyncDisposable {
  readonly #contexts = new AsyncLocalStorageContextManager().enable();
  readonly #propagator = new W3CTraceContextPropagator();
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;

  constructor({ endpoint, samplingRatePerMillion }: TracingConfig, service: string, log: Logger) {
    const told = (message: string): void => log.warn({ endpoint }, `tracing: ${message}`);
    const quiet = (): void => undefined;
    diag.setLogger({ error: told, warn: told, info: quiet, debug: quiet, verbose: quiet }, DiagLogLevel.WARN);
    const root = new TraceIdRatioBasedSampler(samplingRatePerMillion / 1e6);
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': service, 'service.version': version }),
      sampler: new ParentBasedSampler({ root }),
      spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url: endpoint }) })],
    });
    this.#tracer = this.#provider.getTracer('berth', version);
  }

  served<T>(method: string, header: Header, run: () => Promise<T>): Promise<T> {
    const parent = this.#propagator.extract(ROOT_CONTEXT, header, {
      get: (carrier, name) => (carrier as Header)(name),
      keys: () => [],
    });
    return this.#within(rpcName(method), { kind: SpanKind.SERVER, attributes: rpcOf(method) }, parent, run);
  }

  called<T>(method: string, run: (headers: TraceHeaders) => Promise<T>): Promise<T> {
    const options = { kind: SpanKind.CLIENT, attributes: rpcOf(method) };
    return this.#within(rpcName(method), options, this.#contexts.active(), (context) => {
      const headers: Record<string, string> = {};
      this.#propagator.inject(context, headers, {
        set: (carrier, name, value) => Object.assign(carrier as object, { [name]: value }),
      });
      return run(headers);
    });
  }

  step<T>(name: string, attributes: Readonly<Record<string, string>>, run: () => Promise<T>): Promise<T> {
    return this.#within(name, { kind: SpanKind.INTERNAL, attributes }, this.#contexts.active(), run);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#provider.shutdown().catch(() => undefined);
    this.#contexts.disable();
    diag.disable();
  }

  async #within<T>(
    name: string,
    options: SpanOptions,
    parent: Context,
    run: (context: Context) => Promise<T>,
  ): Promise<T> {
    const span = this.#tracer.startSpan(name, options, parent);
    const context = trace.setSpan(parent, span);
    try {
      return await this.#contexts.with(context, () => run(context));
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
      if (options.kind !== SpanKind.INTERNAL) {
        span.setAttribute('rpc.grpc.status_code', statusOfCode(BerthError.from(error).code));
      }
      throw error;
    } finally {
      span.end();
    }
  }
}

/** As OpenTelemetry's conventions have it: `package.Service/Method`. */
function rpcName(method: string): string {
  return method.replace(/^\//, '');
}

function rpcOf(method: string): Readonly<Record<string, string>> {
  const [service = '', name = ''] = rpcName(method).split('/');
  return { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': name };
}
