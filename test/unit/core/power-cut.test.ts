import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkAfterCut, Promises } from '../../support/power-cut/check.ts';
import { cuts, DiskModel } from '../../support/power-cut/disk-model.ts';
import { buildRecorder, type Change, parseRecording } from '../../support/power-cut/recording.ts';
import { Random } from '../../support/random.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const writer = new URL('../../support/power-cut/writer.ts', import.meta.url).pathname;
/** Points per way of cutting. */
const points = 40;

let dir: string;
let changes: readonly Change[];
let root: string;

beforeAll(() => {
  dir = scratchDir();
  const data = join(dir, 'data');
  mkdirSync(data);
  root = String(statSync(data).ino);
  const recorder = buildRecorder(dir);
  const log = join(dir, 'log');
  const env = { ...process.env, LD_PRELOAD: recorder, POWER_CUT_LOG: log, UV_USE_IO_URING: '0' };
  const preloaded = join(dir, 'node');
  const start = `#!/bin/sh\nexport LD_PRELOAD='${recorder}' POWER_CUT_LOG='${log}' UV_USE_IO_URING=0\n`;
  writeFileSync(preloaded, `${start}exec '${process.execPath}' "$@"\n`, { mode: 0o755 });
  execFileSync(process.execPath, [writer, data, preloaded], { env, stdio: ['ignore', 'inherit', 'inherit'] });
  changes = [...parseRecording(readFileSync(log))];
}, 60_000);
afterAll(() => removeScratch(dir));

describe('after a power cut at any point of pulls, deletes and backups', () => {
  it('the recording has what the writer did, as it was left', async () => {
    const promises = new Promises();
    const model = new DiskModel(root);
    for (const change of changes) {
      model.apply(change);
      if (change.op === 'promised') promises.note(change.what);
    }
    expect(promises.safe.size).toBe(16);
    model.write(join(dir, 'whole'), 'names', new Random(0));
    await checkAfterCut(join(dir, 'whole'), promises);
  });

  it.each([
    ['nothing', 'synced'],
    ['the names', 'names'],
    ['some', 'some'],
  ] as const)(
    'that leaves %s of what was not synced, everything is whole and what was safe is there',
    async (_, cut) => {
      const random = new Random(cuts.indexOf(cut) + 1);
      const model = new DiskModel(root);
      const promises = new Promises();
      const place = join(dir, cut);
      const chosen = new Set(Array.from({ length: points }, () => random.int(changes.length)));
      for (const [index, change] of changes.entries()) {
        model.apply(change);
        if (change.op === 'promised') promises.note(change.what);
        if (!chosen.has(index)) continue;
        model.write(place, cut, random);
        await checkAfterCut(place, promises).catch((error: unknown) => {
          throw new Error(`cut after change ${index} of ${changes.length} (${change.op}): ${String(error)}`, {
            cause: error,
          });
        });
        rmSync(place, { recursive: true });
      }
    },
  );
});
