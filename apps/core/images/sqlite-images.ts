import { createHash } from 'node:crypto';
import { parseDigest } from '#common/digest.ts';
import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { EventPublisher } from '../events/events.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsFromColumn, labelsToColumn, mapKeyOf } from '../metadata/labels.ts';
import { RecordFiles } from '../metadata/record-files.ts';
import type { RecordWriter } from '../metadata/record-writer.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import type { Image, ImageInput, ImageStore, ImageTarget } from './store.ts';

interface Row {
  readonly ns: string;
  readonly name: string;
  readonly media_type: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: string;
  readonly labels: string;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface ImageStoreParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  readonly leases: LeaseStore;
  readonly events: EventPublisher;
  /** Called when content lost its root: time to collect. */
  readonly onRelease: () => void;
  /** What the records say, for the day when the database is lost. */
  readonly records: RecordFiles;
}

export class SqliteImageStore implements ImageStore {
  readonly #db: Database;
  readonly #parts: ImageStoreParts;

  constructor(parts: ImageStoreParts) {
    this.#db = parts.db;
    this.#parts = parts;
  }

  get(ns: string, name: string): Image {
    const row = this.#db.get<Row>('SELECT * FROM images WHERE ns = ? AND name = ?', ns, name);
    if (!row) throw notFound(name);
    return recordOf(row, imageOf, nameOf);
  }

  list(ns: string, filters?: readonly string[]): Image[] {
    const matches = matcher(filters);
    const rows = this.#db.all<Row>('SELECT * FROM images WHERE ns = ? ORDER BY name', ns);
    return recordsOf(this.#db, rows, imageOf, nameOf).filter(({ name, target, labels }) => {
      const fields = {
        name,
        'target.digest': target.digest,
        'target.mediatype': target.mediaType,
      };
      return matches({
        fields,
        maps: { labels, annotations: target.annotations ?? {} },
      });
    });
  }

  create(ns: string, input: ImageInput, lease?: string): Image {
    const now = timeNow();
    const image = { ...checked(input), createdAt: now, updatedAt: now };
    this.#db.tx(() => {
      this.#parts.namespaces.ensure(ns);
      this.#lease(ns, image, lease);
      const { changes } = this.#db.run(
        `INSERT INTO images (ns, name, media_type, digest, size, annotations, labels, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        ns,
        image.name,
        image.target.mediaType,
        image.target.digest,
        image.target.size,
        labelsToColumn(image.target.annotations ?? {}),
        labelsToColumn(image.labels),
        timeToColumn(now),
        timeToColumn(now),
      );
      if (changes === 0) throw new BerthError('already_exists', `image "${image.name}" already exists`);
      this.#parts.records.write(ns, image.name, fileOf(image));
    });
    const { name, labels } = image;
    this.#parts.events.publishTyped(ns, '/images/create', 'containerd.services.images.v1.ImageCreate', {
      name,
      labels,
    });
    return image;
  }

  update(ns: string, input: ImageInput, fieldpaths?: readonly string[]): Image {
    if (input.name === '') throw new BerthError('invalid_argument', 'image name is required for update');
    const updated = this.#db.tx(() => {
      const current = this.get(ns, input.name);
      const image = {
        ...checked(masked(current, input, fieldpaths)),
        createdAt: current.createdAt,
        updatedAt: timeNow(),
      };
      this.#db.run(
        `UPDATE images SET media_type = ?, digest = ?, size = ?, annotations = ?, labels = ?, updated_at = ?
         WHERE ns = ? AND name = ?`,
        image.target.mediaType,
        image.target.digest,
        image.target.size,
        labelsToColumn(image.target.annotations ?? {}),
        labelsToColumn(image.labels),
        timeToColumn(image.updatedAt),
        ns,
        image.name,
      );
      this.#parts.records.write(ns, image.name, fileOf(image));
      if (current.target.digest !== image.target.digest) this.#db.afterCommit(this.#parts.onRelease);
      return image;
    });
    const { name, labels } = updated;
    this.#parts.events.publishTyped(ns, '/images/update', 'containerd.services.images.v1.ImageUpdate', {
      name,
      labels,
    });
    return updated;
  }

  delete(ns: string, name: string, target?: string): void {
    this.#db.tx(() => {
      const current = this.#db.get<Row>('SELECT * FROM images WHERE ns = ? AND name = ?', ns, name);
      if (!current) throw notFound(name);
      if (target && current.digest !== target) {
        throw new BerthError('not_found', `image "${name}" has target ${current.digest}, not ${target}`);
      }
      this.#db.run('DELETE FROM images WHERE ns = ? AND name = ?', ns, name);
    });
    this.#parts.records.remove(ns, name);
    this.#parts.events.publishTyped(ns, '/images/delete', 'containerd.services.images.v1.ImageDelete', { name });
    this.#parts.onRelease();
  }

  /** For the start: makes the files agree with the records. */
  tidyRecordFiles(): void {
    const rows = this.#db.all<Row>('SELECT * FROM images');
    this.#parts.records.tidy(
      rows.map((row) => ({
        ns: row.ns,
        id: row.name,
        updatedAt: timeFromColumn(row.updated_at),
        record: () => fileOf(imageOf(row)),
      })),
    );
  }

  /** An image that never expires is a root by itself and needs no lease. */
  #lease(ns: string, image: Image, lease: string | undefined): void {
    if (!lease || !(labelKeys.gcExpire in image.labels)) return;
    this.#parts.leases.addResource(ns, lease, {
      type: 'images',
      id: image.name,
    });
  }
}

/** What the records of images say: `<root>/<namespace>/<hash of the name>`. */
export function imageRecordFiles(root: string, writer?: RecordWriter): RecordFiles {
  return new RecordFiles(root, (name) => createHash('sha256').update(name).digest('hex'), writer);
}

function fileOf({ target, labels, createdAt }: Image): object {
  return { target, labels, createdAt: timeToColumn(createdAt) };
}

function masked(current: Image, input: ImageInput, fieldpaths: readonly string[] | undefined): ImageInput {
  if (!fieldpaths?.length) return input;
  let { target } = current;
  let labels = current.labels;
  for (const path of fieldpaths) {
    const label = mapKeyOf(path, 'labels');
    const annotation = mapKeyOf(path, 'annotations');
    if (label !== undefined) labels = { ...labels, [label]: input.labels?.[label] ?? '' };
    else if (annotation !== undefined) {
      const value = input.target.annotations?.[annotation] ?? '';
      target = {
        ...target,
        annotations: { ...target.annotations, [annotation]: value },
      };
    } else if (path === 'labels') labels = input.labels ?? {};
    else if (path === 'target') target = input.target;
    else if (path === 'annotations') target = { ...target, annotations: input.target.annotations ?? {} };
    else throw new BerthError('invalid_argument', `cannot update field "${path}" of image "${current.name}"`);
  }
  return { name: current.name, target, labels };
}

function checked({ name, target, labels }: ImageInput): Pick<Image, 'name' | 'target' | 'labels'> {
  if (name === '') throw new BerthError('invalid_argument', 'image name must not be empty');
  return {
    name,
    target: checkedTarget(name, target),
    labels: cleanLabels(labels),
  };
}

function checkedTarget(name: string, target: ImageTarget): ImageTarget {
  parseDigest(target.digest);
  if (!(target.size > 0)) throw new BerthError('invalid_argument', `image "${name}": target size must be above zero`);
  if (target.mediaType === '')
    throw new BerthError('invalid_argument', `image "${name}": target media type must be set`);
  const { digest, size, mediaType } = target;
  const annotations = Object.fromEntries(Object.entries(target.annotations ?? {}).filter(([, value]) => value !== ''));
  return { digest, size, mediaType, annotations };
}

function imageOf(row: Row): Image {
  return {
    name: row.name,
    target: {
      mediaType: row.media_type,
      digest: row.digest,
      size: row.size,
      annotations: labelsFromColumn(row.annotations),
    },
    labels: labelsFromColumn(row.labels),
    createdAt: timeFromColumn(row.created_at),
    updatedAt: timeFromColumn(row.updated_at),
  };
}

function nameOf({ ns, name }: Row): string {
  return `image "${name}" in namespace "${ns}"`;
}

function notFound(name: string): BerthError {
  return new BerthError('not_found', `image "${name}" not found`);
}
