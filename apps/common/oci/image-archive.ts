import { gzipSync } from 'node:zlib';
import { sha256 } from '../digest.ts';
import { type Descriptor, type ImageConfig, type Index, type Manifest, mediaTypes } from './image.ts';
import { type TarEntry, tarArchive } from './tar-writer.ts';

/** Content with its descriptor. */
export interface Blob {
  readonly descriptor: Descriptor;
  readonly data: Buffer;
}

/** A small image that was made in memory, for this machine's architecture. */
export interface BuiltImage {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layer: Blob;
}

/** Builds an image of one layer. The same input gives the same digests. */
export function buildImage(root: readonly TarEntry[], config: NonNullable<ImageConfig['config']>): BuiltImage {
  const archive = tarArchive(root);
  const layer = blob(mediaTypes.ociLayerGzip, gzipSync(archive, { level: 1 }));
  const imageConfig: ImageConfig = {
    architecture: architecture(),
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: [sha256(archive)] },
    history: [{ created_by: 'berth' }],
  };
  const configBlob = jsonBlob(mediaTypes.ociConfig, imageConfig);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: configBlob.descriptor,
    layers: [layer.descriptor],
  };
  return { manifest: jsonBlob(mediaTypes.ociManifest, manifest), config: configBlob, layer };
}

/** An image as an OCI archive (image-layout.md in a tar) that names it `reference`, as `ctr images import` reads. */
export function imageArchive(image: BuiltImage, reference: string): Buffer {
  const platform = { architecture: architecture(), os: 'linux' };
  const annotations = { 'io.containerd.image.name': reference };
  const index: Index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [{ ...image.manifest.descriptor, platform, annotations }],
  };
  const blobs = [image.manifest, image.config, image.layer];
  return tarArchive([
    { type: 'file', name: 'oci-layout', data: JSON.stringify({ imageLayoutVersion: '1.0.0' }) },
    { type: 'file', name: 'index.json', data: JSON.stringify(index) },
    ...blobs.map(({ descriptor, data }): TarEntry => {
      return { type: 'file', name: `blobs/${descriptor.digest.replace(':', '/')}`, data };
    }),
  ]);
}

/** This machine's architecture, as Go and so the image specification call it. */
export function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

function jsonBlob(mediaType: string, value: unknown): Blob {
  return blob(mediaType, Buffer.from(JSON.stringify(value)));
}

function blob(mediaType: string, data: Buffer): Blob {
  return { descriptor: { mediaType, digest: sha256(data), size: data.length }, data };
}
