import { readFile } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import { type BuiltImage, buildImage } from '#common/oci/image-archive.ts';
import type { TarEntry } from '#common/oci/tar-writer.ts';

/** Debian's package busybox-static puts it here. */
const busybox = '/bin/busybox';
const applets =
  'sh ls cat echo true false sleep id hostname env ps kill mkdir rm date wget httpd ip ping nc grep sed head tail wc';

/** A small image around this machine's static busybox. No network is needed for it. */
export async function busyboxImage(): Promise<BuiltImage> {
  const root: TarEntry[] = [
    ...['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp'].map(
      (name): TarEntry => ({ type: 'directory', name: `${name}/`, mode: name === 'tmp' ? 0o1777 : 0o755 }),
    ),
    { type: 'file', name: 'bin/busybox', data: await readBusybox(), mode: 0o755 },
    ...applets.split(' ').map((name): TarEntry => ({ type: 'symlink', name: `bin/${name}`, target: 'busybox' })),
    { type: 'file', name: 'etc/passwd', data: 'root:x:0:0:root:/root:/bin/sh\n' },
    { type: 'file', name: 'etc/group', data: 'root:x:0:\n' },
  ];
  return buildImage(root, { Env: ['PATH=/bin'], Cmd: ['sh'], WorkingDir: '/' });
}

async function readBusybox(): Promise<Buffer> {
  try {
    return await readFile(busybox);
  } catch (error) {
    throw new BerthError('not_found', `no ${busybox}: install Debian's busybox-static (npm run setup does)`, {
      cause: error,
    });
  }
}
