import { BerthError, messageOf } from './errors.ts';

/** `google.protobuf.Any` in the shape of the generated types. */
export interface Any {
  readonly type_url: string;
  readonly value: Buffer | Uint8Array;
}

/** Type URLs that containerd's clients and shims expect. */
export const typeUrls = {
  /** OCI runtime spec as JSON. */
  spec: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  /** OCI process as JSON: the spec of an exec. */
  process: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  linuxResources: 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources',
  runcOptions: 'containerd.runc.v1.Options',
  cgroups1Metrics: 'io.containerd.cgroups.v1.Metrics',
  cgroups2Metrics: 'io.containerd.cgroups.v2.Metrics',
} as const;

/** JSON in an Any, as containerd packs types that aren't protobuf messages. */
export function packJson(typeUrl: string, value: unknown): { type_url: string; value: Buffer } {
  return { type_url: typeUrl, value: Buffer.from(JSON.stringify(value)) };
}

/**
 * The JSON value of an Any. The caller says which type it is; only the syntax is checked.
 * @throws BerthError `invalid_argument` when the Any is absent, empty or no JSON
 */
export function unpackJson<T>(any: Any | null | undefined, what: string): T {
  if (any === null || any === undefined || any.value.length === 0) {
    throw new BerthError('invalid_argument', `${what} is missing`);
  }
  try {
    return JSON.parse(Buffer.from(any.value).toString('utf8')) as T;
  } catch (error) {
    throw new BerthError('invalid_argument', `${what} (${any.type_url}) is no valid JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Type URLs may carry a host: `type.googleapis.com/x.Y` and `x.Y` are one type. */
export function sameType(a: string, b: string): boolean {
  return withoutHost(a) === withoutHost(b);
}

function withoutHost(typeUrl: string): string {
  return typeUrl.startsWith('type.googleapis.com/') ? typeUrl.slice('type.googleapis.com/'.length) : typeUrl;
}
