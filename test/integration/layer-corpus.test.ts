import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LayerApplier } from '../../apps/core/diff/apply.ts';
import { gnuTar } from '../support/gnu-tar.ts';
import {
  missingCorpus,
  packageLayers,
  withDirectory,
  withOverlay,
  withTar,
  withUmoci,
} from '../support/layer-corpus.ts';
import { randomLayers } from '../support/random-layers.ts';
import { tarArchive } from '../support/tar-archive.ts';
import { makeTree } from '../support/trees.ts';

const missing = missingCorpus();

let parent: string;
let dir: string;
let applier: LayerApplier;

beforeAll(() => {
  parent = fs.mkdtempSync(join(tmpdir(), 'berth-corpus-'));
  applier = new LayerApplier(join(parent, 'cache'));
});

afterAll(() => {
  applier[Symbol.dispose]();
  fs.rmSync(parent, { recursive: true, force: true });
});

beforeEach(() => {
  dir = fs.mkdtempSync(join(parent, 'case-'));
});

/** What Berth makes of the layers, which is the same for both snapshotters. */
async function unpacked(layers: readonly Buffer[]): Promise<string[]> {
  const overlay = await withOverlay(applier, layers, join(dir, 'overlay'));
  expect(await withDirectory(applier, layers, join(dir, 'native'))).toEqual(overlay);
  return overlay;
}

function umoci(layers: readonly Buffer[]): string[] {
  fs.mkdirSync(join(dir, 'umoci'));
  return withUmoci(layers, join(dir, 'umoci'));
}

describe('an unpacked image', () => {
  it.skipIf(missing !== undefined)(
    `of Debian’s packages is what GNU tar and umoci make of it${missing === undefined ? '' : ` (${missing})`}`,
    async () => {
      const layers = packageLayers();
      const tree = await unpacked(layers);
      expect(tree.length).toBeGreaterThan(1000);
      expect(tree).toEqual(withTar(layers, join(dir, 'tar')));
      expect(tree).toEqual(umoci(layers));
    },
  );

  it('with one of everything, changed by a second layer, is what umoci makes of it', async () => {
    fs.mkdirSync(join(dir, 'tree'));
    const first = gnuTar(makeTree(join(dir, 'tree')), '--format=pax', '--xattrs', '--xattrs-include=*');
    const time = { mtime: 1_700_000_000 };
    const second = tarArchive([
      { name: './', type: '5', mode: 0o751, uid: 3, gid: 4, ...time },
      { name: 'usr/bin/.wh.su-too', ...time },
      { name: 'home/', type: '5', mode: 0o755, ...time },
      { name: 'home/.wh.u', ...time },
      { name: 'dev/', type: '5', mode: 0o755, ...time },
      { name: 'dev/.wh..wh..opq', ...time },
      { name: 'dev/zero', type: '3', major: 1, minor: 5, mode: 0o666, ...time },
      { name: 'etc/', type: '5', mode: 0o700, uid: 1, ...time },
      { name: 'etc/shadow', data: 'changed', mode: 0o600, ...time },
      { name: 'etc/passwd', data: 'a file', ...time },
      { name: 'etc/long', type: '5', mode: 0o711, ...time },
      { name: 'etc/long/file', data: 'below', ...time },
      { name: 'bin/through-a-link', data: 'in usr/bin', ...time },
      { name: 'usr/bin/', type: '5', mode: 0o755, ...time },
      { name: 'usr/lib/', type: '5', mode: 0o755, ...time },
      { name: 'usr/lib/x86_64-linux-gnu', type: '2', linkName: '../lib64', ...time },
      { name: 'tmp/', type: '5', mode: 0o1777, ...time },
      { name: 'tmp/ping', type: '1', linkName: 'usr/bin/ping', ...time },
    ]);
    expect(await unpacked([first, second])).toEqual(umoci([first, second]));
  });

  it.each([1, 2, 3, 4, 5, 6])('of random layers is what umoci makes of it (seed %i)', async (seed) => {
    const layers = randomLayers(seed);
    expect(await unpacked(layers)).toEqual(umoci(layers));
  });
});
