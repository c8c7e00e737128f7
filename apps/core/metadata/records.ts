import { BerthError } from '#common/errors.ts';
import type { Database } from './database.ts';

/**
 * Makes a record of a row.
 * @param name what the record is, for people: `image "x" in namespace "n"`
 * @throws data_loss, naming it, when the row holds what no berthd writes.
 */
export function recordOf<Row, T>(row: Row, decode: (row: Row) => T, name: (row: Row) => string): T {
  try {
    return decode(row);
  } catch (error) {
    const { message } = BerthError.from(error);
    throw new BerthError('data_loss', `${name(row)} is damaged (${message}): delete it and make it anew`, {
      cause: error,
    });
  }
}

/** The records of all rows that hold one: a damaged row is reported and left out, so that it doesn't hide the others. */
export function recordsOf<Row, T>(
  db: Database,
  rows: readonly Row[],
  decode: (row: Row) => T,
  name: (row: Row) => string,
): T[] {
  const records: T[] = [];
  for (const row of rows) {
    try {
      records.push(recordOf(row, decode, name));
    } catch (error) {
      db.reportDamage(name(row), error);
    }
  }
  return records;
}
