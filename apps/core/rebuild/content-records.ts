import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { blobRecordFiles } from '../content/local-store.ts';
import { imageRecordFiles } from '../images/sqlite-images.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import { orphanage, type Rebuild } from './recovered.ts';

/**
 * Makes the rows of blobs agree with their files: `owners` says which namespaces have one, with what labels. A file that
 * no namespace owns goes to the orphanage. A blob is in place only when it is whole, so its bytes are not read.
 */
export function rebuildContent(root: string, { db, damaged, count }: Rebuild): void {
  const sizes = blobSizes(join(root, 'blobs/sha256'));
  for (const { ns, digest } of db.all<{ ns: string; digest: string }>('SELECT ns, digest FROM blobs')) {
    if (!sizes.has(digest)) db.run('DELETE FROM blobs WHERE ns = ? AND digest = ?', ns, digest);
  }
  for (const { ns, id: digest, record } of blobRecordFiles(root).all()) {
    const size = sizes.get(digest);
    if (size === undefined) continue;
    try {
      putBlob(db, ns, digest, { ...record, size });
      count('blobs');
    } catch (error) {
      damaged(`content ${digest} in namespace "${ns}"`, error);
    }
  }
  for (const [digest, size] of sizes) {
    if (db.get('SELECT 1 FROM blobs WHERE digest = ?', digest)) continue;
    putBlob(db, orphanage, digest, { size, labels: {}, createdAt: timeToColumn(timeNow()) });
    count('blobs');
  }
}

/** Images whose target is there. */
export function rebuildImages(root: string, { db, damaged, count }: Rebuild): void {
  for (const { ns, id: name, record } of imageRecordFiles(root).all()) {
    try {
      const target = record.target as { digest: string; mediaType: string; size: number; annotations?: object };
      if (!db.get('SELECT 1 FROM blobs WHERE ns = ? AND digest = ?', ns, target.digest)) continue;
      db.run(
        `INSERT INTO images (ns, name, media_type, digest, size, annotations, labels, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT DO UPDATE SET media_type = ?3, digest = ?4, size = ?5,
         annotations = ?6, labels = ?7`,
        ns,
        name,
        target.mediaType,
        target.digest,
        target.size,
        labelsColumn(target.annotations ?? {}),
        labelsColumn(record.labels),
        Number(record.createdAt),
      );
      count('images');
    } catch (error) {
      damaged(`image "${name}" in namespace "${ns}"`, error);
    }
  }
}

function blobSizes(directory: string): Map<string, number> {
  const names = existsSync(directory) ? readdirSync(directory) : [];
  const hexes = names.filter((name) => /^[0-9a-f]{64}$/.test(name));
  return new Map(hexes.map((hex) => [`sha256:${hex}`, statSync(join(directory, hex)).size]));
}

function putBlob(db: Database, ns: string, digest: string, record: Readonly<Record<string, unknown>>): void {
  db.run(
    `INSERT INTO blobs (ns, digest, size, labels, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
     ON CONFLICT DO UPDATE SET labels = ?4`,
    ns,
    digest,
    Number(record.size),
    labelsColumn(record.labels),
    Number(record.createdAt),
  );
}

/** @throws when they are no labels. */
function labelsColumn(labels: unknown): string {
  return labelsToColumn(labelsFromColumn(JSON.stringify(labels)));
}
