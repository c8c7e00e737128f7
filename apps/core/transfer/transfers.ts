import { createReadStream, statSync } from 'node:fs';
import type { Service } from '#common/grpc/adapter.ts';
import type { Logger } from '#common/log.ts';
import { layoutArchive } from '#common/oci/layout-archive.ts';
import type { ContentStore } from '../content/store.ts';
import { LayerApplier } from '../diff/apply.ts';
import { LayerComparer } from '../diff/compare.ts';
import { diffService } from '../diff/service.ts';
import type { ImageStore } from '../images/store.ts';
import type { LeaseStore, WithLease } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { hostPlatform } from '../registry/platform.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { Snapshotters } from '../snapshots/snapshotters.ts';
import { streamingService } from '../streaming/service.ts';
import { StreamManager } from '../streaming/stream-manager.ts';
import { ImageUnpacker } from '../unpack/image-unpacker.ts';
import { BlobFetcher } from './fetch.ts';
import { importImages } from './import.ts';
import { Limiter } from './limiter.ts';
import { Progress } from './progress.ts';
import type { RegistryConfig } from './registry-config.ts';
import { transferService } from './service.ts';
import { Throttle } from './throttle.ts';
import { TransferMetrics } from './transfer-metrics.ts';

export interface TransfersParts {
  readonly db: Pick<Database, 'durable'>;
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseStore & { readonly withLease: WithLease };
  readonly snapshotters: Snapshotters;
  readonly registry: RegistryConfig;
  /** Private directory for compiled code and for mounts of the processes that make layers; made when missing. */
  readonly cacheDir: string;
  readonly log: Logger;
}

export interface FileImport {
  readonly ns: string;
  /** Path of an OCI or Docker archive. */
  readonly path: string;
  readonly snapshotter: Snapshotter;
  readonly signal: AbortSignal;
}

/** Everything that brings images in: the services transfer, streaming and diff, and what they share. */
export interface Transfers extends Disposable {
  readonly services: readonly Service[];
  readonly metrics: TransferMetrics;
  /** What verifying and repairing images takes. */
  readonly verification: {
    readonly applier: LayerApplier;
    readonly fetcher: BlobFetcher;
    readonly withLease: WithLease;
    readonly registry: RegistryClientOptions;
  };
  /** Imports and unpacks what an archive has for this machine, under the archive's names, which it answers. */
  importFile(request: FileImport): Promise<readonly string[]>;
}

/** Ranges of large layers that are on their way at the same time, of all pulls together. */
const PARALLEL_RANGES = 12;

/** An image that its archive names by a tag alone gets this name before it, as with `berth images import`. */
const tagOnlyNames = { name: 'import', isPrefix: true, allowOverwrite: true, addDigest: false, skipNamedDigest: false };

export function openTransfers(parts: TransfersParts): Transfers {
  const { db, content, images, leases, snapshotters, registry, log } = parts;
  const applier = new LayerApplier(parts.cacheDir);
  const comparer = new LayerComparer(content, parts.cacheDir);
  const unpacker = new ImageUnpacker({ content, leases, applier });
  const streams = new StreamManager();
  const { withLease } = leases;
  const metrics = new TransferMetrics();
  const fetcher = new BlobFetcher({
    content,
    leases,
    metrics,
    connections: new Limiter(PARALLEL_RANGES),
    throttle: new Throttle(registry.maxBandwidth),
    stallMs: registry.stallTimeout,
  });
  const shared = {
    db,
    content,
    images,
    leases,
    unpacker,
    fetcher,
    streams,
    withLease,
    snapshotters,
    registry,
    metrics,
    log,
  };
  return {
    metrics,
    verification: {
      applier,
      fetcher,
      withLease,
      registry: { hostDir: registry.certsDir, dockerConfig: registry.dockerConfig, idleMs: registry.stallTimeout },
    },
    services: [
      transferService(shared),
      streamingService(streams, log),
      diffService({ content, applier, comparer, log }),
    ],
    async importFile({ ns, path, snapshotter, signal }) {
      const platform = hostPlatform();
      return await withLease(ns, (lease) =>
        importImages(shared, {
          archive: statSync(path).isDirectory() ? layoutArchive(path) : createReadStream(path),
          forceCompress: false,
          destination: { ns, name: '', labels: {}, rules: [tagOnlyNames] },
          selection: { platforms: [platform], limit: 0 },
          unpacks: [{ platform, snapshotter }],
          lease,
          progress: new Progress(),
          signal,
        }),
      );
    },
    [Symbol.dispose]: () => applier[Symbol.dispose](),
  };
}
