import { randomUUID } from 'node:crypto';
import type { Database } from '../metadata/database.ts';

/** A UUID that stays with the database, made when it is first asked for. */
export function rootUuid(db: Database): string {
  return db.tx(() => {
    db.run("INSERT INTO meta (key, value) VALUES ('uuid', ?) ON CONFLICT DO NOTHING", randomUUID());
    return db.get<{ value: string }>("SELECT value FROM meta WHERE key = 'uuid'")?.value ?? '';
  });
}
