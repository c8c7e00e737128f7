import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Any } from '#common/typeurl.ts';
import type { TransferHandlers } from '#proto/containerd/services/transfer/v1/Transfer.ts';
import type { OCIRegistry__Output } from '#proto/containerd/types/transfer/OCIRegistry.ts';
import type { WithLease } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import type { Snapshotters } from '../snapshots/snapshotters.ts';
import { receiveBytes, sendBytes } from '../streaming/byte-stream.ts';
import type { ClientStream } from '../streaming/stream.ts';
import type { StreamManager } from '../streaming/stream-manager.ts';
import { exportImages } from './export.ts';
import { importImages } from './import.ts';
import { openLogStream } from './log-stream.ts';
import { Progress } from './progress.ts';
import { type PullParts, pullImage } from './pull.ts';
import { pushImage } from './push.ts';
import type { RegistryConfig } from './registry-config.ts';
import {
  archiveSource,
  decodeImages,
  decodeRegistry,
  destinationOf,
  endpointOf,
  exportChoiceOf,
  exportStream,
  registryOptions,
  selectionOf,
  sourceNamesOf,
  unpacksOf,
} from './requests.ts';
import { tagImage } from './tag.ts';
import type { TransferMetrics } from './transfer-metrics.ts';

export interface TransferServiceParts extends PullParts {
  readonly db: Pick<Database, 'durable'>;
  readonly streams: StreamManager;
  readonly withLease: WithLease;
  readonly snapshotters: Snapshotters;
  readonly registry: RegistryConfig;
  readonly metrics: TransferMetrics;
  readonly log: Logger;
}

/** What every kind of transfer gets. */
interface Call {
  readonly ns: string;
  readonly lease: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** `containerd.services.transfer.v1.Transfer`: moves images between registries, archives and the image store. */
export function transferService(parts: TransferServiceParts): Service {
  return implement<TransferHandlers>(
    serviceDefinition('containerd.services.transfer.v1.Transfer'),
    {
      async transfer({ source, destination, options }, { namespace: ns, lease, signal }) {
        if (!source || !destination)
          throw new BerthError('invalid_argument', 'a transfer needs a source and a destination');
        const run = transferBetween(parts, source as Any, destination as Any);
        const progressId = options?.progressStream ?? '';
        const progress = new Progress(progressId === '' ? undefined : parts.streams.get(ns, progressId));
        try {
          if (lease !== undefined) await run({ ns, lease, progress, signal });
          else await parts.withLease(ns, (own) => run({ ns, lease: own, progress, signal }));
          // The client is about to be told that the image is there: a power cut must not undo that.
          await parts.db.durable();
        } finally {
          await progress.end();
        }
        return {};
      },
    },
    { log: parts.log },
  );
}

/** @throws unimplemented for a pair of ends that isn't supported. */
function transferBetween(parts: TransferServiceParts, source: Any, destination: Any): (call: Call) => Promise<void> {
  const pair = `${endpointOf(source)} to ${endpointOf(destination)}`;
  if (pair === 'registry to images') return (call) => pull(parts, source, destination, call);
  if (pair === 'images to registry') return (call) => push(parts, source, destination, call);
  if (pair === 'archive to images') return (call) => importArchive(parts, source, destination, call);
  if (pair === 'images to export') return (call) => exportArchive(parts, source, destination, call);
  if (pair === 'archive to export') return (call) => echo(parts, source, destination, call);
  if (pair === 'images to images') return (call) => tag(parts, source, destination, call);
  const message = `a transfer from ${source.type_url} to ${destination.type_url} is not supported`;
  throw new BerthError('unimplemented', message);
}

async function pull(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  const registry = decodeRegistry(source);
  const target = decodeImages(destination);
  using limited = limitedBy(parts.registry.pullTimeout, registry.reference, call);
  using reach = registryReach(parts, registry, limited.call);
  await parts.metrics.follow(call.progress, call.signal, () =>
    pullImage(parts, {
      ...limited.call,
      reference: registry.reference,
      registry: reach.options,
      destination: destinationOf(target, call.ns),
      selection: selectionOf(target),
      unpacks: unpacksOf(target, parts.snapshotters),
    }),
  );
}

/** The call with a deadline, in milliseconds; 0: none. */
function limitedBy(limit: number, reference: string, call: Call): Disposable & { readonly call: Call } {
  if (limit === 0) return { call, [Symbol.dispose]: () => {} };
  const late = new AbortController();
  const why = `the pull of ${reference} took longer than ${limit / 1000} s (pull_timeout below [registry])`;
  const reason = new BerthError('deadline_exceeded', `${why}; the next one goes on with what has come`);
  const timer = setTimeout(() => late.abort(reason), limit);
  const signal = AbortSignal.any([call.signal, late.signal]);
  return { call: { ...call, signal }, [Symbol.dispose]: () => clearTimeout(timer) };
}

async function push(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  const registry = decodeRegistry(destination);
  const image = decodeImages(source);
  using reach = registryReach(parts, registry, call);
  const { platforms } = selectionOf(image);
  await pushImage(parts, {
    ...call,
    name: image.name,
    reference: registry.reference,
    registry: reach.options,
    platforms,
  });
}

async function importArchive(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  const target = decodeImages(destination);
  const { stream, forceCompress } = archiveSource(source);
  using archive = closedAfterUse(parts.streams.get(call.ns, stream));
  await importImages(parts, {
    ...call,
    forceCompress,
    archive: receiveBytes(archive.stream, call.signal),
    destination: destinationOf(target, call.ns),
    selection: selectionOf(target),
    unpacks: unpacksOf(target, parts.snapshotters),
  });
}

async function exportArchive(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  using to = closedAfterUse(parts.streams.get(call.ns, exportStream(destination)));
  const names = sourceNamesOf(decodeImages(source));
  const archive = exportImages(parts, { ...call, names, ...exportChoiceOf(destination) });
  await sendBytes(to.stream, archive, call.signal);
}

/** Hands the bytes of one stream on to another as they are: clients try out their streams with it. */
async function echo(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  using from = closedAfterUse(parts.streams.get(call.ns, archiveSource(source).stream));
  using to = closedAfterUse(parts.streams.get(call.ns, exportStream(destination)));
  await sendBytes(to.stream, receiveBytes(from.stream, call.signal), call.signal);
}

async function tag(parts: TransferServiceParts, source: Any, destination: Any, call: Call): Promise<void> {
  tagImage(parts.images, decodeImages(source).name, destinationOf(decodeImages(destination), call.ns));
}

/** How the client wants a registry to be reached; its streams for that are closed after use. */
function registryReach(
  { streams, registry: config }: TransferServiceParts,
  registry: OCIRegistry__Output,
  { ns, signal }: Call,
): Disposable & { readonly options: RegistryClientOptions } {
  using opened = new DisposableStack();
  const { authStream = '', logsStream = '', httpDebug = 'DISABLED' } = registry.resolver ?? {};
  const auth = authStream === '' ? undefined : opened.adopt(streams.get(ns, authStream), (stream) => stream.close());
  const wantsLog = logsStream !== '' && httpDebug !== 'DISABLED';
  const log = wantsLog ? opened.use(openLogStream(streams.get(ns, logsStream), signal)) : undefined;
  const options = registryOptions(registry, { auth, trace: log?.write, config, signal });
  const kept = opened.move();
  return { options, [Symbol.dispose]: () => kept.dispose() };
}

/** A stream that is of no use after the transfer it was opened for. */
function closedAfterUse(stream: ClientStream): Disposable & { readonly stream: ClientStream } {
  return { stream, [Symbol.dispose]: () => stream.close() };
}
