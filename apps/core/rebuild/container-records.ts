import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { typeUrls } from '#common/typeurl.ts';
import { readContainerFile } from '../containers/container-file.ts';
import { insertContainer } from '../containers/container-rows.ts';
import type { Container } from '../containers/store.ts';
import { timeNow } from '../metadata/time-column.ts';
import type { Rebuild } from './recovered.ts';

/**
 * Gives the tasks that live on their containers back, from their bundles. A container of an old backup that has neither
 * a task nor its snapshot any more was deleted since.
 */
export function rebuildContainers(tasksDir: string, defaultRuntime: string, rebuild: Rebuild): void {
  const { db, damaged, count } = rebuild;
  for (const ns of foldersIn(tasksDir)) {
    for (const id of foldersIn(join(tasksDir, ns))) {
      const bundle = join(tasksDir, ns, id);
      try {
        const spec = readFileSync(join(bundle, 'config.json'));
        put(rebuild, ns, readContainerFile(bundle, id, spec) ?? withoutFile(rebuild, ns, id, { spec, defaultRuntime }));
        count('containers');
      } catch (error) {
        damaged(bundle, error);
      }
    }
  }
  const left = db.all<{ ns: string; id: string }>(
    `SELECT c.ns, c.id FROM containers c WHERE c.snapshot_key != '' AND NOT EXISTS (
       SELECT 1 FROM snapshots s WHERE s.ns = c.ns AND s.snapshotter = c.snapshotter AND s.name = c.snapshot_key)`,
  );
  for (const { ns, id } of left) {
    if (!existsSync(join(tasksDir, ns, id))) db.run('DELETE FROM containers WHERE ns = ? AND id = ?', ns, id);
  }
}

/** Hidden ones are bundles that were being removed. */
function foldersIn(path: string): string[] {
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() && !entry.name.startsWith('.') ? [entry.name] : []));
}

/** What can be said of a container whose bundle doesn't: clients mostly give the snapshot the container's id. */
function withoutFile(
  { db }: Rebuild,
  ns: string,
  id: string,
  { spec, defaultRuntime }: { readonly spec: Uint8Array; readonly defaultRuntime: string },
): Container {
  const snapshot = db.get<{ snapshotter: string }>(
    "SELECT snapshotter FROM snapshots WHERE ns = ? AND name = ? AND kind != 'committed'",
    ns,
    id,
  );
  const now = timeNow();
  return {
    id,
    labels: {},
    image: '',
    runtime: { name: defaultRuntime, options: undefined },
    spec: { typeUrl: typeUrls.spec, value: spec },
    snapshotter: snapshot?.snapshotter ?? '',
    snapshotKey: snapshot === undefined ? '' : id,
    sandbox: '',
    extensions: {},
    createdAt: now,
    updatedAt: now,
  };
}

function put({ db }: Rebuild, ns: string, container: Container): void {
  db.run('DELETE FROM containers WHERE ns = ? AND id = ?', ns, container.id);
  insertContainer(db, ns, container);
}
