import { join } from 'node:path';
import { bytesOf, extensionsOf, type FiledBytes, filedBytes, filedExtensions } from '../metadata/filed-bytes.ts';
import { readRecordFile, writeRecordFile } from '../metadata/record-file.ts';
import { timeFromColumn, timeToColumn } from '../metadata/time-column.ts';
import type { Container } from './store.ts';

/** The file in a task's bundle that says what the record of its container does, but for the spec: that is config.json. */
const fileName = 'container.json';

interface FiledContainer {
  readonly labels: Container['labels'];
  readonly image: string;
  readonly runtime: string;
  readonly options?: FiledBytes;
  readonly specType: string;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly sandbox: string;
  readonly extensions: Readonly<Record<string, FiledBytes>>;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export function writeContainerFile(bundle: string, container: Container): void {
  const { labels, image, runtime, spec, snapshotter, snapshotKey, sandbox, extensions } = container;
  const filed: FiledContainer = {
    labels,
    image,
    runtime: runtime.name,
    ...(runtime.options && { options: filedBytes(runtime.options) }),
    specType: spec?.typeUrl ?? '',
    snapshotter,
    snapshotKey,
    sandbox,
    extensions: filedExtensions(extensions),
    createdAt: timeToColumn(container.createdAt),
    updatedAt: timeToColumn(container.updatedAt),
  };
  writeRecordFile(join(bundle, fileName), filed);
}

/**
 * The record of the container `id`, whose spec is `spec`; undefined without the file.
 * @throws for a file that isn't what {@link writeContainerFile} writes.
 */
export function readContainerFile(bundle: string, id: string, spec: Uint8Array): Container | undefined {
  const filed = readRecordFile(join(bundle, fileName)) as FiledContainer | undefined;
  if (filed === undefined) return undefined;
  return {
    id,
    labels: filed.labels,
    image: filed.image,
    runtime: { name: filed.runtime, options: filed.options && bytesOf(filed.options) },
    spec: { typeUrl: filed.specType, value: spec },
    snapshotter: filed.snapshotter,
    snapshotKey: filed.snapshotKey,
    sandbox: filed.sandbox,
    extensions: extensionsOf(filed.extensions),
    createdAt: timeFromColumn(filed.createdAt),
    updatedAt: timeFromColumn(filed.updatedAt),
  };
}
