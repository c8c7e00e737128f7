import { type Blob, digestOf, type TestImage } from './busybox-image.ts';

/** An image whose layers are any bytes: it can be fetched, but not unpacked. */
export function rawImage(layers: readonly Buffer[]): TestImage {
  const blob = (mediaType: string, data: Buffer): Blob => ({
    mediaType,
    digest: digestOf(data),
    size: data.length,
    data,
  });
  const parts = layers.map((data) => blob('application/vnd.oci.image.layer.v1.tar', data));
  return imageOf(
    parts.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    parts,
  );
}

/** The same for layers that are nowhere as a whole. */
export function imageOf(
  descriptors: readonly Pick<Blob, 'mediaType' | 'digest' | 'size'>[],
  layers: readonly Blob[] = [],
): TestImage {
  const document = (mediaType: string, value: object): Blob => {
    const data = Buffer.from(JSON.stringify(value));
    return { mediaType, digest: digestOf(data), size: data.length, data };
  };
  const diffIds = descriptors.map(({ digest }) => digest);
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const rootfs = { type: 'layers', diff_ids: diffIds };
  const config = document('application/vnd.oci.image.config.v1+json', { architecture, os: 'linux', rootfs });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const { digest, size } = config;
  const manifest = document(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: { mediaType: config.mediaType, digest, size },
    layers: descriptors,
  });
  return { manifest, config, layers };
}
