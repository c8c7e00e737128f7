import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PodConfig } from '../../../apps/cri-shim/cri-types.ts';
import { PodFiles } from '../../../apps/cri-shim/pod-files.ts';
import { mountPointsIn, removeScratch } from '../../support/scratch.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-pod-files-'));
});

afterEach(() => {
  removeScratch(dir);
  rmSync(dir, { recursive: true, force: true });
});

describe("a pod's files", () => {
  it('are all made, or given up, when making them fails: nothing comes after their removal', async () => {
    const files = new PodFiles(join(dir, 'root'), join(dir, 'state'));
    await files.prepare();
    const dnsConfig = { servers: ['10.0.0.1\nsearch evil'], searches: [], options: [] };
    const config = { hostname: 'pod', dnsConfig, linux: null } as unknown as PodConfig;
    const sharing = { hostNetwork: false, hostIpc: false, hostPid: false };
    await expect(files.create('pod', config, sharing)).rejects.toMatchObject({ code: 'invalid_argument' });
    await files.remove('pod');
    await sleep(100);
    expect(mountPointsIn(dir)).toEqual([]);
    expect(await files.ids()).toEqual(new Set());
  });
});
