import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type TarMember, tarArchive } from './tar-archive.ts';

const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly data: Buffer;
}

export interface TestImage {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Blob[];
}

export interface ImageOptions {
  readonly cmd?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly env?: readonly string[];
  readonly user?: string;
  readonly workingDir?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  /** Further members, in a layer of their own. */
  readonly files?: readonly TarMember[];
}

/** Commands linked to busybox in the image. */
const applets = (
  'sh ls cat echo true false sleep id env pwd hostname mount ps kill touch rm mkdir ln cp mv dd head tail wc seq yes ' +
  'printf test date stat readlink grep sed awk tr sort find df du chmod chown ip ping nc wget httpd nslookup stty tty ' +
  'uname mkfifo sync trap usleep nohup setsid top free cut xargs'
).split(' ');

/** An image around the static busybox of this machine; the same options give the same digests. */
export function busyboxImage(options: ImageOptions = {}): TestImage {
  const archives = [baseLayer()];
  if (options.files !== undefined) archives.push(tarArchive(options.files));
  const layers = archives.map((archive) => blob(mediaTypes.layer, gzipSync(archive, { level: 1 })));
  const config = jsonBlob(mediaTypes.config, {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: {
      Env: ['PATH=/usr/local/bin:/bin', ...(options.env ?? [])],
      Cmd: options.cmd ?? ['sh'],
      ...(options.entrypoint === undefined ? {} : { Entrypoint: options.entrypoint }),
      ...(options.user === undefined ? {} : { User: options.user }),
      ...(options.workingDir === undefined ? {} : { WorkingDir: options.workingDir }),
      ...(options.volumes === undefined
        ? {}
        : { Volumes: Object.fromEntries(options.volumes.map((path) => [path, {}])) }),
      ...(options.labels === undefined ? {} : { Labels: options.labels }),
    },
    rootfs: { type: 'layers', diff_ids: archives.map(digestOf) },
    history: archives.map(() => ({ created: '2024-01-01T00:00:00Z', created_by: 'test' })),
  });
  const manifest = jsonBlob(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
  });
  return { manifest, config, layers };
}

/** An OCI archive (image layout in a tar) that names the image. */
export function ociArchive(image: TestImage, reference: string): Buffer {
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [{ ...descriptorOf(image.manifest), annotations: { 'io.containerd.image.name': reference } }],
  };
  const blobs = [image.manifest, image.config, ...image.layers];
  return tarArchive([
    { name: 'oci-layout', data: JSON.stringify({ imageLayoutVersion: '1.0.0' }) },
    { name: 'index.json', data: JSON.stringify(index) },
    ...blobs.map(({ digest, data }) => ({ name: `blobs/sha256/${digest.slice('sha256:'.length)}`, data })),
  ]);
}

/** The archive that `docker save` writes. */
export function dockerArchive(image: TestImage, reference: string, layers: readonly Buffer[]): Buffer {
  const names = layers.map((_, index) => `layer-${index}.tar`);
  const manifest = [{ Config: 'config.json', RepoTags: [reference], Layers: names }];
  return tarArchive([
    { name: 'config.json', data: image.config.data },
    ...layers.map((data, index) => ({ name: names[index] as string, data })),
    { name: 'manifest.json', data: JSON.stringify(manifest) },
  ]);
}

/** Of any bytes, as content stores write it. */
export function digestOf(data: Buffer): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

export function descriptorOf({ mediaType, digest, size }: Blob): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest, size };
}

/** The uncompressed layer with busybox and the files a root filesystem needs. */
export function baseLayer(): Buffer {
  const folders = ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'var', 'var/log'];
  return tarArchive([
    ...folders.map((name) => ({ name: `${name}/`, type: '5', mode: name === 'tmp' ? 0o1777 : 0o755 })),
    { name: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') },
    ...applets.map((applet) => ({ name: `bin/${applet}`, type: '2', linkName: 'busybox', mode: 0o777 })),
    { name: 'etc/passwd', data: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n' },
    { name: 'etc/group', data: 'root:x:0:\napp:x:1000:\nextra:x:2000:app\n' },
  ]);
}

function jsonBlob(mediaType: string, value: unknown): Blob {
  return blob(mediaType, Buffer.from(JSON.stringify(value)));
}

function blob(mediaType: string, data: Buffer): Blob {
  return { mediaType, digest: digestOf(data), size: data.length, data };
}
