import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** The part of OTLP that tests look at (opentelemetry-proto 1.x: trace.proto, trace_service.proto). */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Export { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { oneof value { string string_value = 1; int64 int_value = 3; } }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
    Status status = 15;
  }
  message Status { string message = 2; int32 code = 3; }
`);

interface Exported {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue?: string } }[] };
    readonly scopeSpans: readonly { readonly spans: readonly Readonly<Record<string, unknown>>[] }[];
  }[];
}

/** A span as it was exported; ids are hexadecimal, that of a missing parent ''. */
export interface Span {
  readonly service: string;
  readonly traceId: string;
  readonly id: string;
  readonly parentId: string;
  readonly name: string;
  /** Whether it failed. */
  readonly failed: boolean;
}

/** An OTLP collector over gRPC, on loopback. */
export class TraceCollector implements AsyncDisposable {
  readonly spans: Span[] = [];
  readonly #server = new grpc.Server();
  #port = 0;

  static async start(): Promise<TraceCollector> {
    const collector = new TraceCollector();
    const identity = (bytes: Buffer): Buffer => bytes;
    const definition = {
      path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    } as const;
    const handler: grpc.handleUnaryCall<Buffer, Buffer> = ({ request }, callback) => {
      collector.#take(request);
      callback(null, Buffer.alloc(0));
    };
    collector.#server.addService({ export: definition }, { export: handler });
    const bind = (done: (error: Error | null, port: number) => void): void =>
      collector.#server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), done);
    collector.#port = await new Promise((resolve, reject) =>
      bind((error, port) => (error ? reject(error) : resolve(port))),
    );
    return collector;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }

  #take(request: Buffer): void {
    const type = root.lookupType('Export');
    const exported = type.toObject(type.decode(request), { arrays: true, objects: true }) as unknown as Exported;
    const hex = (bytes: unknown): string => Buffer.from((bytes ?? []) as Uint8Array).toString('hex');
    for (const { resource, scopeSpans } of exported.resourceSpans) {
      const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue ?? '';
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        this.spans.push({
          service,
          traceId: hex(span.traceId),
          id: hex(span.spanId),
          parentId: hex(span.parentSpanId),
          name: String(span.name),
          failed: (span.status as { code?: number } | null)?.code === 2,
        });
      }
    }
  }
}
