import { type Any, sameType, typeUrls } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { type Bootstrap, parseBootstrap } from './bootstrap.ts';

/**
 * The runtime options that go to the shim: the request's, else the container's, else none; for a shim that drives runc,
 * with runc's own state below `runcRoot` unless the options name another place (the shim appends the namespace).
 */
export function taskOptions(
  fromRequest: Any | null,
  fromContainer: Any | null,
  drivesRunc: boolean,
  runcRoot: string,
): Any | null {
  const given = fromRequest !== null && fromRequest.value.length > 0 ? fromRequest : fromContainer;
  if (!drivesRunc) return given;
  if (given === null || given.type_url === '') {
    return { type_url: typeUrls.runcOptions, value: encode('containerd.runc.v1.Options', { root: runcRoot }) };
  }
  if (!sameType(given.type_url, typeUrls.runcOptions)) return given;
  if (decode('containerd.runc.v1.Options', given.value).root !== '') return given;
  // Concatenated encodings merge, so fields that we don't know stay as they are.
  const root = encode('containerd.runc.v1.Options', { root: runcRoot });
  return { type_url: given.type_url, value: Buffer.concat([given.value, root]) };
}

/** The folder of the checkpoint that runc's options want a container to start from; '' for none. */
export function restorePathOf(options: Any | null): string {
  return runcOptionsOf(options)?.criuImagePath ?? '';
}

/**
 * The task API that a request, or as clients before containerd 2.0 runc's options, name for a task.
 * @throws unimplemented for a transport or version that we don't speak.
 */
export function taskApiOf(address: string, version: number, options: Any | null): Bootstrap | undefined {
  const older = runcOptionsOf(options);
  const named = address || (older?.taskApiAddress ?? '');
  if (named === '') return undefined;
  const answer = { version: version || older?.taskApiVersion || 2, address: named, protocol: 'ttrpc' };
  return parseBootstrap(Buffer.from(JSON.stringify(answer)));
}

function runcOptionsOf(options: Any | null) {
  if (options === null || !sameType(options.type_url, typeUrls.runcOptions)) return undefined;
  return decode('containerd.runc.v1.Options', options.value);
}
