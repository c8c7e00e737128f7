import { BerthError } from '#common/errors.ts';
import { type Any, sameType, typeUrls } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { SavedRuntime } from './bundle.ts';
import type { CreateFlags } from './runc.ts';
import type { Owner } from './stdio.ts';

/** Where runc keeps its state when Create names no other root; containerd's shim uses the same. */
const defaultRoot = '/run/containerd/runc';

export interface RuntimeOptions {
  readonly runtime: SavedRuntime;
  readonly flags: CreateFlags;
  readonly owner: Owner;
  /** Where criu works during a restore; empty: in the bundle. */
  readonly criuWorkPath: string;
}

/** Create's options (`containerd.runc.v1.Options`), with defaults. Throws `invalid_argument` for another type. */
export function runtimeOptions(options: Any | null, namespace: string): RuntimeOptions {
  if (options !== null && options.type_url !== '' && !sameType(options.type_url, typeUrls.runcOptions)) {
    throw new BerthError(
      'invalid_argument',
      `runtime options of type ${options.type_url}: this shim takes ${typeUrls.runcOptions}`,
    );
  }
  const given = decode('containerd.runc.v1.Options', options?.value ?? new Uint8Array());
  return {
    runtime: {
      binary: given.binaryName || 'runc',
      root: `${given.root || defaultRoot}/${namespace}`,
      systemdCgroup: given.systemdCgroup,
      criu: given.criuPath || 'criu',
    },
    flags: { noPivotRoot: given.noPivotRoot, noNewKeyring: given.noNewKeyring },
    owner: { uid: given.ioUid, gid: given.ioGid },
    criuWorkPath: given.criuWorkPath,
  };
}
