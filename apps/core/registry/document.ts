import { parseDigest } from '#common/digest.ts';
import { BerthError } from '#common/errors.ts';
import { isIndex, isManifest, isSchema1 } from './media-types.ts';

/** OCI image-spec "descriptor.md": what and how much, by digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly 'os.version'?: string;
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: 'index';
  readonly manifests: readonly Descriptor[];
}

/** The parts of an image's config that unpacking needs. */
export interface ImageRootfs {
  readonly platform: Platform;
  /** Digests of the uncompressed layers, the lowest first. */
  readonly diffIds: readonly string[];
}

/** Larger documents are refused unread. */
export const MAX_DOCUMENT = 8 * 1024 * 1024;

type Json = Readonly<Record<string, unknown>>;

/**
 * Parses a manifest or index as its media type says. A document that could be read as either is refused: another reader
 * might take it for the other (CVE-2021-41190).
 * @throws invalid_argument that names the digest.
 */
export function parseDocument(bytes: Uint8Array, descriptor: Descriptor): Manifest | Index {
  const refuse: Refuse = (why) => {
    throw new BerthError('invalid_argument', `manifest ${descriptor.digest}: ${why}`);
  };
  if (isSchema1(descriptor.mediaType))
    refuse('schema 1 manifests are not supported; push the image again to convert it');
  const json = parseJson(bytes, refuse);
  if (json.schemaVersion === 1 || 'fsLayers' in json || 'history' in json) {
    refuse('it is a schema 1 manifest, which is not supported; push the image again to convert it');
  }
  if (json.mediaType !== undefined && json.mediaType !== descriptor.mediaType) {
    refuse(`it calls itself ${JSON.stringify(json.mediaType)} but is described as "${descriptor.mediaType}"`);
  }
  if (isIndex(descriptor.mediaType)) {
    if ('config' in json || 'layers' in json) refuse('it is both an index and a manifest');
    return { kind: 'index', manifests: descriptors(json.manifests ?? [], 'manifests', refuse) };
  }
  if (!isManifest(descriptor.mediaType)) refuse(`media type "${descriptor.mediaType}" is not supported`);
  if ('manifests' in json) refuse('it is both a manifest and an index');
  return {
    kind: 'manifest',
    config: parseDescriptor(json.config, 'config', refuse),
    layers: descriptors(json.layers ?? [], 'layers', refuse),
  };
}

/** @throws invalid_argument */
export function parseImageRootfs(bytes: Uint8Array, digest: string): ImageRootfs {
  const refuse: Refuse = (why) => {
    throw new BerthError('invalid_argument', `image config ${digest}: ${why}`);
  };
  const json = parseJson(bytes, refuse);
  const rootfs = object(json.rootfs ?? {}, 'rootfs', refuse);
  if (rootfs.type !== undefined && rootfs.type !== 'layers')
    refuse(`rootfs type ${JSON.stringify(rootfs.type)} is unknown`);
  const diffIds = rootfs.diff_ids ?? [];
  if (!Array.isArray(diffIds)) refuse('rootfs.diff_ids must be a list');
  const list = (diffIds as unknown[]).map((digest) => {
    if (typeof digest !== 'string') return refuse('rootfs.diff_ids must hold digests');
    parseDigest(digest);
    return digest;
  });
  return { platform: parsePlatform(json, refuse), diffIds: list };
}

type Refuse = (why: string) => never;

function parseJson(bytes: Uint8Array, refuse: Refuse): Json {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    refuse('it is not JSON');
  }
  return object(value, 'it', refuse);
}

function object(value: unknown, what: string, refuse: Refuse): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${what} must be an object`);
  return value as Json;
}

function descriptors(value: unknown, where: string, refuse: Refuse): Descriptor[] {
  if (!Array.isArray(value)) return refuse(`${where} must be a list`);
  return value.map((item, index) => parseDescriptor(item, `${where}[${index}]`, refuse));
}

function parseDescriptor(value: unknown, where: string, refuse: Refuse): Descriptor {
  const { mediaType, digest, size, annotations, platform } = object(value, where, refuse);
  if (typeof mediaType !== 'string' || mediaType === '') return refuse(`${where} has no media type`);
  if (typeof digest !== 'string') return refuse(`${where} has no digest`);
  try {
    parseDigest(digest);
  } catch (error) {
    refuse(`${where}: ${BerthError.from(error).message}`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return refuse(`${where} has no size`);
  return {
    mediaType,
    digest,
    size,
    ...(annotations === undefined ? {} : { annotations: stringMap(annotations, where, refuse) }),
    ...(platform === undefined ? {} : { platform: parsePlatform(object(platform, where, refuse), refuse) }),
  };
}

function stringMap(value: unknown, where: string, refuse: Refuse): Record<string, string> {
  const entries = Object.entries(object(value ?? {}, `${where}.annotations`, refuse));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

function parsePlatform(json: Json, refuse: Refuse): Platform {
  const text = (key: string): string => {
    const value = json[key] ?? '';
    return typeof value === 'string' ? value : refuse(`platform ${key} must be a string`);
  };
  const variant = text('variant');
  const version = text('os.version');
  return {
    os: text('os'),
    architecture: text('architecture'),
    ...(variant === '' ? {} : { variant }),
    ...(version === '' ? {} : { 'os.version': version }),
  };
}
