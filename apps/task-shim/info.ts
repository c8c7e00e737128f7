import { nameOf } from '#common/native/files.ts';
import { close, pipe, readAll, spawn, waitpid, writeAll } from '#common/native/index.ts';
import { type Any, packJson } from '#common/typeurl.ts';
import { version } from '#common/version.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { runtimeOptions } from './options.ts';
import { openNull } from './stdio.ts';

const featuresType = 'types.containerd.io/opencontainers/runtime-spec/1/features/Features';

/** `-v`. */
export function printVersion(): void {
  writeAll(1, Buffer.from(`${nameOf(process.execPath)}:\n  Version:  ${version}\n\n`));
}

/** `-info`: a binary RuntimeInfo, with what the OCI runtime says of itself. An Any of options may stand on stdin. */
export function printInfo(): void {
  const given = readAll(0);
  const options: Any | null = given.length === 0 ? null : decode('google.protobuf.Any', given);
  const { runtime } = runtimeOptions(options, '');
  writeAll(
    1,
    encode('containerd.types.RuntimeInfo', {
      name: 'io.containerd.berth.v1',
      version: { version },
      options: options === null ? null : { ...options, value: Buffer.from(options.value) },
      features: featuresOf(runtime.binary),
    }),
  );
}

/** null for a runtime without the command, as crun 1.8. */
function featuresOf(binary: string): { type_url: string; value: Buffer } | null {
  const env = Object.entries(process.env).map(([key, value]) => `${key}=${value}`);
  const devNull = openNull();
  const [readEnd, writeEnd] = pipe(0);
  try {
    const pid = spawn([binary, 'features'], env, null, [devNull, writeEnd, devNull], false);
    close(writeEnd);
    const text = readAll(readEnd).toString('utf8');
    if (waitpid(pid, 0)?.exitCode !== 0) return null;
    return packJson(featuresType, JSON.parse(text));
  } finally {
    close(readEnd);
    close(devNull);
  }
}
