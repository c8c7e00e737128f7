import type { Database } from '../metadata/database.ts';

/**
 * The containers of all namespaces that have the label `containerd.io/restart.status`. An index holds them and no others,
 * so that a look every few seconds costs nothing beside thousands of containers without it.
 */
export function monitoredContainers(db: Database): { readonly namespace: string; readonly id: string }[] {
  return db.all(
    `SELECT ns AS namespace, id FROM containers INDEXED BY containers_monitored
     WHERE instr(labels, '"containerd.io/restart.status"') > 0`,
  );
}
