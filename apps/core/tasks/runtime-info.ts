import { BerthError } from '#common/errors.ts';
import { type Any, sameType } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { RuntimeNames } from './runtime-name.ts';
import type { ShimCommand } from './shim-command.ts';

const REQUEST = 'containerd.types.RuntimeRequest';
const INFO = 'containerd.types.RuntimeInfo';

/**
 * Lets a runtime's shim describe itself: its version, and the features of the OCI runtime that the options name.
 * @param request `containerd.types.RuntimeRequest` @returns `containerd.types.RuntimeInfo`
 * @throws unimplemented for another request; what finding or running the shim throws.
 */
export async function runtimeInfo(
  { runtimes, command }: { readonly runtimes: RuntimeNames; readonly command: ShimCommand },
  request: Any,
  signal?: AbortSignal,
): Promise<{ type_url: string; value: Buffer }> {
  if (!sameType(request.type_url, REQUEST)) {
    throw new BerthError('unimplemented', `a runtime can be asked for with a ${REQUEST}, not a ${request.type_url}`);
  }
  const { runtimePath, options } = decode(REQUEST, request.value);
  return { type_url: INFO, value: await command.info(runtimes.resolve(runtimePath), options, signal) };
}
