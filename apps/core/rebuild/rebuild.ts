import { join } from 'node:path';
import { labelKeys } from '#common/labels.ts';
import type { Logger } from '#common/log.ts';
import type { Database } from '../metadata/database.ts';
import { labelsToColumn } from '../metadata/labels.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import { rebuildContainers } from './container-records.ts';
import { rebuildContent, rebuildImages } from './content-records.ts';
import type { Rebuild } from './recovered.ts';
import { rebuildSandboxes } from './sandbox-records.ts';
import { rebuildSnapshots } from './snapshot-records.ts';

export interface RebuildOptions {
  readonly db: Database;
  readonly root: string;
  readonly tasksDir: string;
  readonly defaultRuntime: string;
  /** For how long the collector leaves alone what is there now, in milliseconds. */
  readonly keepMs: number;
  readonly log: Logger;
}

/**
 * Makes the records of a database that is new, or as old as a backup, agree with what is on disk: what isn't there any
 * more is forgotten, what is there is known again, containers that run are running containers, and nothing is deleted.
 * A lease in each namespace keeps all of it from the collector until an operator had time to look.
 */
export function rebuildRecords({ db, root, tasksDir, defaultRuntime, keepMs, log }: RebuildOptions): void {
  const counts = { snapshots: 0, blobs: 0, images: 0, containers: 0, sandboxes: 0 };
  const rebuild: Rebuild = {
    db,
    damaged: (what, why) => log.error({ what, err: why }, 'cannot be recovered as it was'),
    count: (kind) => void counts[kind]++,
  };
  db.tx(() => {
    rebuildSnapshots(join(root, 'snapshots'), rebuild);
    rebuildContent(join(root, 'content'), rebuild);
    rebuildImages(join(root, 'images'), rebuild);
    rebuildContainers(tasksDir, defaultRuntime, rebuild);
    rebuildSandboxes(join(root, 'sandboxes'), rebuild);
    db.run(
      `INSERT OR IGNORE INTO namespaces (name) SELECT ns FROM snapshots UNION SELECT ns FROM blobs UNION SELECT ns FROM images
       UNION SELECT ns FROM containers UNION SELECT ns FROM sandboxes`,
    );
    if (keepMs > 0) protect(db, keepMs);
  });
  if (Object.values(counts).some((number) => number > 0)) log.warn(counts, 'records made anew from what is on disk');
}

function protect(db: Database, keepMs: number): void {
  const now = timeNow();
  const lease = `recovered-${now.epochMilliseconds}`;
  const expires = now.add({ milliseconds: keepMs }).toString({ smallestUnit: 'second' });
  const labels = labelsToColumn({ [labelKeys.gcExpire]: expires });
  db.run(
    'INSERT INTO leases (ns, id, labels, created_at) SELECT ns, ?, ?, ? FROM (SELECT ns FROM blobs UNION SELECT ns FROM snapshots)',
    lease,
    labels,
    timeToColumn(now),
  );
  db.run(
    `INSERT INTO lease_resources (ns, lease, type, resource)
     SELECT ns, ?1, 'content', digest FROM blobs
     UNION ALL SELECT ns, ?1, 'snapshots/' || snapshotter, name FROM snapshots`,
    lease,
  );
}
