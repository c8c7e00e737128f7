import { mediaTypes } from '#common/oci/image.ts';

/** What a manifest request says that it understands. */
export const ACCEPTED_MANIFESTS = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerIndex,
  mediaTypes.dockerManifest,
].join(', ');

export function isIndex(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex;
}

export function isManifest(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
}

export function isConfig(mediaType: string): boolean {
  return mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig;
}

export function isLayer(mediaType: string): boolean {
  return /^application\/vnd\.(oci\.image\.layer|docker\.image\.rootfs)\./.test(mediaType);
}

/** image-spec layer.md, "Non-Distributable Layers", and Docker's foreign layers. */
export function isNonDistributable(mediaType: string): boolean {
  return /\.(nondistributable|foreign)\./.test(mediaType);
}

/** Docker's first manifest format, signed JSON without a config; no current runtime takes it. */
export function isSchema1(mediaType: string): boolean {
  return /^application\/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)$/.test(mediaType);
}
