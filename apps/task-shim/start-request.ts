import type { Any } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import type { CommandLine } from './command-line.ts';

/** What a daemon says on the stdin of `start`, beside the command line. */
export interface StartRequest {
  /** The daemon speaks containerd's bootstrap protocol (since 2.3), and gets its answer in it. */
  readonly speaksBootstrap: boolean;
  readonly options: Any | null;
  /** Empty: as the environment or the command line says. */
  readonly ttrpcAddress: string;
  /** Empty: as the environment says. */
  readonly socketFolder: string;
  readonly debug: boolean;
}

/** From this level on a daemon wants to hear of details (`containerd.runtime.bootstrap.v1.LogLevel`). */
const debugLevels: readonly (string | number)[] = ['LOG_LEVEL_DEBUG', 'LOG_LEVEL_TRACE'];

/**
 * Runtime options in an Any (containerd 2.0), or BootstrapParams (since 2.3). Bytes of the first may pass for the second,
 * which therefore repeats id and namespace of the command line.
 */
export function parseStartRequest(stdin: Uint8Array, line: CommandLine): StartRequest {
  const params = decode('containerd.runtime.bootstrap.v1.BootstrapParams', stdin);
  const { instanceId, namespace, extensions, containerdTtrpcAddress, socketDir, logLevel } = params;
  if (instanceId !== line.id || namespace !== line.namespace) {
    const options = decode('google.protobuf.Any', stdin);
    return { speaksBootstrap: false, options, ttrpcAddress: '', socketFolder: '', debug: line.debug };
  }
  return {
    speaksBootstrap: true,
    options: extensions.find(({ value }) => value !== null)?.value ?? null,
    ttrpcAddress: containerdTtrpcAddress,
    socketFolder: socketDir ?? '',
    debug: line.debug || debugLevels.includes(logLevel),
  };
}

/** The answer to BootstrapParams. */
export function bootstrapResult(address: string): Uint8Array {
  return encode('containerd.runtime.bootstrap.v1.BootstrapResult', { version: 3, address, protocol: 'ttrpc' });
}
