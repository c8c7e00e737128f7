import { bytesOf, extensionsOf, type FiledBytes, filedBytes, filedExtensions } from '../metadata/filed-bytes.ts';
import { RecordFiles } from '../metadata/record-files.ts';
import type { RecordWriter } from '../metadata/record-writer.ts';
import { timeFromColumn, timeToColumn } from '../metadata/time-column.ts';
import type { Sandbox } from './store.ts';

interface FiledSandbox {
  readonly sandboxer: string;
  readonly runtime: string;
  readonly options?: FiledBytes;
  readonly spec?: FiledBytes;
  readonly labels: Sandbox['labels'];
  readonly extensions: Readonly<Record<string, FiledBytes>>;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** What the records of sandboxes say: `<root>/<namespace>/<id>.json`. */
export function sandboxRecordFiles(root: string, writer?: RecordWriter): RecordFiles {
  return new RecordFiles(root, (id) => `${id}.json`, writer);
}

export function sandboxFileOf({ sandboxer, runtime, spec, labels, extensions, ...times }: Sandbox): FiledSandbox {
  return {
    sandboxer,
    runtime: runtime.name,
    ...(runtime.options && { options: filedBytes(runtime.options) }),
    ...(spec && { spec: filedBytes(spec) }),
    labels,
    extensions: filedExtensions(extensions),
    createdAt: timeToColumn(times.createdAt),
    updatedAt: timeToColumn(times.updatedAt),
  };
}

/** @throws for a record that isn't what {@link sandboxFileOf} answers. */
export function sandboxOfFile(id: string, record: Readonly<Record<string, unknown>>): Sandbox {
  const filed = record as unknown as FiledSandbox;
  return {
    id,
    sandboxer: filed.sandboxer,
    runtime: { name: filed.runtime, options: filed.options && bytesOf(filed.options) },
    spec: filed.spec && bytesOf(filed.spec),
    labels: filed.labels,
    extensions: extensionsOf(filed.extensions),
    createdAt: timeFromColumn(filed.createdAt),
    updatedAt: timeFromColumn(filed.updatedAt),
  };
}
