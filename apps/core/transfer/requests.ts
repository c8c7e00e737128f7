import { BerthError } from '#common/errors.ts';
import { type Any, sameType } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { Platform__Output } from '#proto/containerd/types/Platform.ts';
import type { ImageStore__Output } from '#proto/containerd/types/transfer/ImageStore.ts';
import type { OCIRegistry__Output } from '#proto/containerd/types/transfer/OCIRegistry.ts';
import type { Platform } from '../registry/document.ts';
import type { Trace } from '../registry/http.ts';
import { hostPlatform } from '../registry/platform.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import { defaultSnapshotter, type Snapshotters } from '../snapshots/snapshotters.ts';
import type { ClientStream } from '../streaming/stream.ts';
import { credentialsFromStream } from './auth-stream.ts';
import type { ExportRequest } from './export.ts';
import type { Selection } from './image-graph.ts';
import type { ImageDestination } from './image-names.ts';
import type { UnpackChoice } from './image-walk.ts';
import type { RegistryConfig } from './registry-config.ts';

/** The ends of a transfer that are known here. */
export type Endpoint = keyof typeof ENDPOINTS;

const ENDPOINTS = {
  registry: 'containerd.types.transfer.OCIRegistry',
  archive: 'containerd.types.transfer.ImageImportStream',
  export: 'containerd.types.transfer.ImageExportStream',
  images: 'containerd.types.transfer.ImageStore',
} as const;

/** Which end an Any describes, undefined for those that aren't supported. */
export function endpointOf({ type_url }: Any): Endpoint | undefined {
  const entries = Object.entries(ENDPOINTS) as [Endpoint, string][];
  return entries.find(([, name]) => sameType(type_url, name))?.[0];
}

export function decodeRegistry(any: Any): OCIRegistry__Output {
  return decode(ENDPOINTS.registry, any.value);
}

export function decodeImages(any: Any): ImageStore__Output {
  return decode(ENDPOINTS.images, any.value);
}

/** The id of the stream that an archive comes in on, and whether plain layers are compressed on their way. */
export function archiveSource(any: Any): { readonly stream: string; readonly forceCompress: boolean } {
  return decode(ENDPOINTS.archive, any.value);
}

/** The id of the stream that an archive goes out on. */
export function exportStream(any: Any): string {
  return decode(ENDPOINTS.export, any.value).stream;
}

/** What to write into an archive: this machine's part of each image unless the client names platforms, or all. */
export function exportChoiceOf(any: Any): Pick<ExportRequest, 'platforms' | 'forDocker' | 'skipNonDistributable'> {
  const { platforms, allPlatforms, skipCompatibilityManifest, skipNonDistributable } = decode(
    ENDPOINTS.export,
    any.value,
  );
  const wanted = platforms.length === 0 ? [hostPlatform()] : platforms.map(platformOf);
  return {
    platforms: allPlatforms ? [] : wanted,
    forDocker: !skipCompatibilityManifest,
    skipNonDistributable,
  };
}

/** Names of the images that a transfer begins with. */
export function sourceNamesOf({ name, extraReferences }: ImageStore__Output): string[] {
  const prefix = extraReferences.find(({ isPrefix }) => isPrefix);
  if (prefix) throw new BerthError('unimplemented', `"${prefix.name}": images can't be looked up by prefix`);
  return [...new Set([name, ...extraReferences.map((reference) => reference.name)])].filter((one) => one !== '');
}

/** How to reach a registry, as the client wishes it. @throws invalid_argument for an unknown scheme. */
export function registryOptions(
  { reference, resolver }: OCIRegistry__Output,
  context: {
    readonly auth: ClientStream | undefined;
    readonly trace: Trace | undefined;
    readonly config: RegistryConfig;
    readonly signal: AbortSignal;
  },
): RegistryClientOptions {
  const scheme = resolver?.defaultScheme ?? '';
  if (scheme !== '' && scheme !== 'http' && scheme !== 'https') {
    throw new BerthError('invalid_argument', `unknown scheme "${scheme}" for a registry: http and https are known`);
  }
  return {
    hostDir: resolver?.hostDir || context.config.certsDir,
    dockerConfig: context.config.dockerConfig,
    idleMs: context.config.stallTimeout,
    defaultScheme: scheme === '' ? undefined : scheme,
    headers: resolver?.headers ?? {},
    trace: context.trace,
    credentials:
      context.auth === undefined ? undefined : credentialsFromStream(context.auth, reference, context.signal),
  };
}

export function destinationOf({ name, labels, extraReferences }: ImageStore__Output, ns: string): ImageDestination {
  return { ns, name, labels, rules: extraReferences };
}

export function selectionOf({ platforms, manifestLimit, allMetadata }: ImageStore__Output): Selection {
  return { platforms: platforms.map(platformOf), limit: manifestLimit, allMetadata };
}

/** @throws what finding a snapshotter throws. */
export function unpacksOf({ unpacks }: ImageStore__Output, snapshotters: Snapshotters): UnpackChoice[] {
  return unpacks.map(({ platform, snapshotter }) => ({
    platform: platform === null || platform.os === '' ? hostPlatform() : platformOf(platform),
    snapshotter: snapshotters.named(snapshotter || defaultSnapshotter),
  }));
}

function platformOf({ os, architecture, variant, osVersion }: Platform__Output): Platform {
  return {
    os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(osVersion === '' ? {} : { 'os.version': osVersion }),
  };
}
