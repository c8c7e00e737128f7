/*
 * The thread that copies the database. It reads one state of it while the daemon goes on writing, checks every page on the
 * way, and puts the copy in place only once that is whole and on the disk.
 */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '#common/errors.ts';
import { flush } from '#common/flush.ts';

/** What the thread is started with. */
export interface BackupJob {
  readonly source: string;
  readonly target: string;
}

/** Its one answer. */
export interface BackupReport {
  /** What is wrong with the database, in SQLite's words; undefined when the copy is in place. */
  readonly damage?: string;
  readonly error?: string;
}

function copy({ source, target }: BackupJob): BackupReport {
  const unfinished = `${target}.unfinished`;
  try {
    rmSync(unfinished, { force: true });
    closeSync(openSync(unfinished, 'wx', 0o600));
    const damage = copyChecked(source, unfinished);
    if (damage !== undefined) return { damage };
    flush(unfinished);
    renameSync(unfinished, target);
    flush(dirname(target));
    return {};
  } catch (error) {
    return { error: messageOf(error) };
  } finally {
    rmSync(unfinished, { force: true });
  }
}

/** Answers what is wrong with the source, if anything; then there is no copy. */
function copyChecked(source: string, target: string): string | undefined {
  const db = new DatabaseSync(source, { readOnly: true, timeout: 5000 });
  try {
    const [row] = db.prepare('PRAGMA integrity_check(1)').all() as { integrity_check: string }[];
    if (row?.integrity_check !== 'ok') return row?.integrity_check ?? 'no answer';
    db.prepare('VACUUM INTO ?').run(target);
    return undefined;
  } finally {
    db.close();
  }
}

// This thread's alone (setpriority(2), "C library/kernel differences"): calls needn't wait for a copy that nobody waits for.
setPriority(constants.priority.PRIORITY_LOW);
parentPort?.postMessage(copy(workerData as BackupJob));
