import type { Database } from '../metadata/database.ts';

/** The namespace of what no namespace is known to own. */
export const orphanage = 'berth-recovered';

/** What each kind of record is rebuilt with. */
export interface Rebuild {
  readonly db: Database;
  /** Tells what can't be made a record of; the rest goes on. */
  readonly damaged: (what: string, why: unknown) => void;
  readonly count: (kind: 'snapshots' | 'blobs' | 'images' | 'containers' | 'sandboxes') => void;
}
