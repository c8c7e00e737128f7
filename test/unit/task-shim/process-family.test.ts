import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { descendantsOf, familyOf, sendSignal } from '../../../apps/task-shim/process-family.ts';
import { waitFor } from '../../support/wait-for.ts';

/** No process has such a pid (PID_MAX_LIMIT). */
const nobody = 2 ** 22 + 1;

let leader: ChildProcess | undefined;
afterEach(() => {
  if (leader?.pid !== undefined) process.kill(-leader.pid, 'SIGKILL');
  leader = undefined;
});

const allPids = (): number[] => readdirSync('/proc').map(Number).filter(Number.isInteger);

/** Any process may have ended by now. */
function isSleep(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === 'sleep\u0000100\u0000';
  } catch {
    return false;
  }
}

it('finds children and orphans that are still in the session, and nobody else', async () => {
  leader = spawn('sh', ['-c', 'sleep 100 & sh -c "sleep 100 & exit"; wait'], { stdio: 'ignore', detached: true });
  const { pid = 0 } = leader;
  // The second shell is of the family too, until it has left its orphan.
  const members = await waitFor('the orphan', () => {
    const found = familyOf(pid, allPids());
    return found.length === 2 && found.every(isSleep) ? found : undefined;
  });
  for (const member of members) expect(sendSignal(member, 0)).toBe(true);
  expect(descendantsOf(pid)).toHaveLength(1);
  expect(members).toContain(descendantsOf(pid)[0]);
});

it('finds nothing of a process that is gone', () => {
  expect(descendantsOf(nobody)).toEqual([]);
  expect(familyOf(nobody, [process.pid, nobody + 1])).toEqual([]);
  expect(sendSignal(nobody, 0)).toBe(false);
});
