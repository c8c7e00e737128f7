import { BerthError } from '#common/errors.ts';
import { LayerApplier } from '../../../apps/core/diff/apply.ts';
import { BlobFetcher } from '../../../apps/core/transfer/fetch.ts';
import { importImages } from '../../../apps/core/transfer/import.ts';
import { Limiter } from '../../../apps/core/transfer/limiter.ts';
import { Progress } from '../../../apps/core/transfer/progress.ts';
import type { PullParts } from '../../../apps/core/transfer/pull.ts';
import { Throttle } from '../../../apps/core/transfer/throttle.ts';
import { TransferMetrics } from '../../../apps/core/transfer/transfer-metrics.ts';
import { ImageUnpacker } from '../../../apps/core/unpack/image-unpacker.ts';
import type { TestStores } from '../../support/core-stores.ts';

/** Imports archives into stores of their own, and looks at what is there afterwards. */
export class ImportTrial {
  readonly #stores: TestStores;
  readonly #parts: PullParts;
  #count = 0;

  constructor(stores: TestStores) {
    this.#stores = stores;
    const { content, images, leases } = stores;
    const metrics = new TransferMetrics();
    const transport = { metrics, connections: new Limiter(1), throttle: new Throttle(0), stallMs: 1_000 };
    const unpacker = new ImageUnpacker({ content, leases, applier: new LayerApplier() });
    this.#parts = { content, images, leases, unpacker, fetcher: new BlobFetcher({ content, leases, ...transport }) };
  }

  /** What is wrong with how an archive is taken, undefined when nothing is. */
  async wrongWith(archive: Buffer): Promise<string | undefined> {
    const ns = `n${this.#count++}`;
    const { leases, images, content } = this.#stores;
    leases.create(ns, 'l', {});
    const error = await this.#import(ns, archive).catch((thrown: unknown) => thrown ?? 'nothing');
    const named = [...images.list(ns)];
    if (error === undefined) {
      for (const { name, target } of named) if (!hasBlob(content, ns, target.digest)) return `${name} has no content`;
      return named.length > 0 ? undefined : 'no image, and no error';
    }
    if (named.length > 0) return `fails, but leaves the image ${named[0]?.name}: ${String(error)}`;
    if (!(error instanceof BerthError)) return `throws ${error instanceof Error ? error.stack : String(error)}`;
    return ['unknown', 'internal', 'aborted', 'canceled'].includes(error.code)
      ? `answers ${error.code}: ${error.stack}`
      : undefined;
  }

  async #import(ns: string, archive: Buffer): Promise<undefined> {
    const archiveStream = (async function* () {
      for (let at = 0; at < archive.length; at += 10_000) yield archive.subarray(at, at + 10_000);
    })();
    const rules = [{ name: 'import', isPrefix: true, allowOverwrite: true, addDigest: false, skipNamedDigest: false }];
    await importImages(this.#parts, {
      archive: archiveStream,
      forceCompress: false,
      destination: { ns, name: '', labels: {}, rules },
      selection: { platforms: [], limit: 0 },
      unpacks: [],
      lease: 'l',
      progress: new Progress(),
      signal: AbortSignal.timeout(60_000),
    });
  }
}

function hasBlob(content: TestStores['content'], ns: string, digest: string): boolean {
  try {
    content.info(ns, digest);
    return true;
  } catch {
    return false;
  }
}
