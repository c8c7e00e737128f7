import type { Random } from '../../support/random.ts';

const mediaTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
] as const;

/** A document that is right, with the media type that it is described by. */
export interface Document {
  readonly mediaType: string;
  readonly json: Record<string, unknown>;
}

export function validDocument(random: Random): Document {
  const mediaType = random.pick(mediaTypes);
  const self = random.chance(0.5) ? { mediaType } : {};
  if (/index|list/.test(mediaType)) {
    const manifests = random.some(4, () => ({
      ...descriptor(random, random.pick(mediaTypes)),
      ...(random.chance(0.7) ? { platform: platform(random) } : {}),
    }));
    return { mediaType, json: { schemaVersion: 2, ...self, manifests } };
  }
  const layers = random.some(5, () => descriptor(random, 'application/vnd.oci.image.layer.v1.tar+gzip'));
  const config = descriptor(random, 'application/vnd.oci.image.config.v1+json');
  return { mediaType, json: { schemaVersion: 2, ...self, config, layers } };
}

export function validConfig(random: Random): Record<string, unknown> {
  const diffIds = random.some(5, () => digest(random));
  return { ...platform(random), config: { Env: ['A=b'] }, rootfs: { type: 'layers', diff_ids: diffIds } };
}

function descriptor(random: Random, mediaType: string): Record<string, unknown> {
  const annotations = random.chance(0.3) ? { annotations: { 'org.opencontainers.image.ref.name': 'latest' } } : {};
  return { mediaType, digest: digest(random), size: random.int(2 ** 31), ...annotations };
}

function digest(random: Random): string {
  return `sha256:${random.bytes(32).toString('hex')}`;
}

function platform(random: Random): Record<string, unknown> {
  const variant = random.chance(0.3) ? { variant: random.pick(['v6', 'v7', 'v8']) } : {};
  return { os: random.pick(['linux', 'windows']), architecture: random.pick(['amd64', 'arm64', 'arm']), ...variant };
}
