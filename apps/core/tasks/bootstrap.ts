import { BerthError } from '#common/errors.ts';
import { decode } from '#common/wire/codec.ts';

/** Where a shim serves and what it speaks there. */
export interface Bootstrap {
  /** Of the task service: 2 or 3. */
  readonly version: number;
  /** `unix://` and an absolute path. */
  readonly address: string;
  readonly protocol: 'ttrpc';
}

/** The newest task service we speak. */
export const TASK_API_VERSION = 3;

/**
 * What `SHIM start` printed. Three generations: a bare address (before containerd 2.0), JSON with a version, a protobuf
 * BootstrapResult (since 2.3), told apart by the first byte: text never begins with a protobuf field's tag.
 * @throws unimplemented for a version, protocol or transport that we don't speak; internal for anything else.
 */
export function parseBootstrap(answer: Uint8Array): Bootstrap {
  const { version, address, protocol } = fieldsOf(answer);
  if (version > TASK_API_VERSION) {
    throw new BerthError(
      'unimplemented',
      `shim wants task API version ${version}; the newest known here is ${TASK_API_VERSION}`,
    );
  }
  if (protocol.toLowerCase() !== 'ttrpc') {
    throw new BerthError('unimplemented', `shim serves ${JSON.stringify(protocol)}; only ttrpc is spoken here`);
  }
  socketPathOf(address);
  return { version, address, protocol: 'ttrpc' };
}

/** The path in `unix:///path`. @throws unimplemented for other transports (vsock, abstract sockets). */
export function socketPathOf(address: string): string {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : address;
  if (path.startsWith('/')) return path;
  throw new BerthError(
    address === '' ? 'internal' : 'unimplemented',
    `shim's address ${JSON.stringify(address)} is no unix socket with a path`,
  );
}

interface Fields {
  readonly version: number;
  readonly address: string;
  readonly protocol: string;
}

function fieldsOf(answer: Uint8Array): Fields {
  const first = answer[0];
  // Tags of BootstrapResult's fields 1 to 5; tab, newline and carriage return aren't among them.
  if (first === 0x08 || first === 0x12 || first === 0x1a || first === 0x20 || first === 0x22 || first === 0x2a) {
    const result = decoded(answer);
    if (result !== undefined) return result;
  }
  const text = Buffer.from(answer).toString('utf8').trim();
  if (text.startsWith('{')) {
    const parsed = parsedJson(text);
    if (parsed !== undefined && parsed.version >= 2) return parsed;
  }
  return { version: 2, address: text, protocol: 'ttrpc' };
}

function decoded(answer: Uint8Array): Fields | undefined {
  try {
    const { version, address, protocol } = decode('containerd.runtime.bootstrap.v1.BootstrapResult', answer);
    return { version: version || 2, address, protocol: protocol || 'ttrpc' };
  } catch {
    return undefined;
  }
}

function parsedJson(text: string): Fields | undefined {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof Fields, unknown>>;
    return {
      version: Number(value.version ?? 0),
      address: String(value.address ?? ''),
      protocol: String(value.protocol || 'ttrpc'),
    };
  } catch {
    return undefined;
  }
}
