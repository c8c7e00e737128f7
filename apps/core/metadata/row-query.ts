import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { hasErrno } from '#common/node-error.ts';

type Cells = readonly unknown[];
type Row = Record<string, unknown>;

/**
 * A statement that answers rows. They are put together here, of arrays of their cells: what node:sqlite makes of a row is
 * a hash table, which takes V8 twice the time to make and to read.
 */
export class RowQuery {
  readonly #statement: StatementSync;
  readonly #columns: readonly string[];

  constructor(statement: StatementSync) {
    statement.setReturnArrays(true);
    this.#statement = statement;
    this.#columns = statement.columns().map(({ name }) => name);
  }

  get(params: readonly SQLInputValue[]): Row | undefined {
    return this.#read(() => {
      const cells = this.#statement.get(...params);
      return cells && this.#rowOf(cells as unknown as Cells);
    });
  }

  all(params: readonly SQLInputValue[]): Row[] {
    return this.#read(() => (this.#statement.all(...params) as unknown as Cells[]).map((cells) => this.#rowOf(cells)));
  }

  /**
   * Node refuses all rows when one has an integer that a number can't hold. Such a row is damaged: it gets NaN there, for
   * whoever makes a record of it to find out, and the others are read.
   */
  #read<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (!hasErrno(error, 'ERR_OUT_OF_RANGE')) throw error;
    }
    this.#statement.setReadBigInts(true);
    try {
      return read();
    } finally {
      this.#statement.setReadBigInts(false);
    }
  }

  #rowOf(cells: Cells): Row {
    const row: Row = {};
    const columns = this.#columns;
    for (let index = 0; index < columns.length; index++) {
      const value = cells[index];
      row[columns[index] as string] = typeof value === 'bigint' ? numberOf(value) : value;
    }
    return row;
  }
}

function numberOf(value: bigint): number {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : Number.NaN;
}
