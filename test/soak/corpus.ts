import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayerApplier } from '../../apps/core/diff/apply.ts';
import { gnuTar } from '../support/gnu-tar.ts';
import { describeRoot, withDirectory, withOverlay, withTar, withUmoci } from '../support/layer-corpus.ts';
import type { SoakOptions } from './main.ts';

/**
 * Unpacks debootstrap's minimal root, of this machine's suite, and compares the tree with the root itself and with what
 * GNU tar and umoci make of the same layer. Needs Debian's package debootstrap and a mirror.
 */
export async function corpusSoak({ tell }: SoakOptions): Promise<void> {
  const dir = fs.mkdtempSync(join(tmpdir(), 'berth-corpus-'));
  using stack = new DisposableStack();
  stack.defer(() => fs.rmSync(dir, { recursive: true, force: true }));
  const applier = stack.use(new LayerApplier(join(dir, 'cache')));
  const root = join(dir, 'root');
  tell('debootstrap --variant=minbase');
  minimalRoot(root);
  const layers = [gnuTar(root, '--format=pax', '--xattrs', '--xattrs-include=*')];
  tell(`a layer of ${layers[0]?.length} bytes`);

  const tree = describeRoot(root);
  assert.deepEqual(await withOverlay(applier, layers, join(dir, 'overlay')), tree, 'on overlayfs');
  assert.deepEqual(await withDirectory(applier, layers, join(dir, 'native')), tree, 'in one directory');
  assert.deepEqual(withTar(layers, join(dir, 'tar')), tree, 'by GNU tar');
  fs.mkdirSync(join(dir, 'umoci'));
  assert.deepEqual(withUmoci(layers, join(dir, 'umoci')), tree, 'by umoci');
  tell(`${tree.length} entries are the same in the root, on overlayfs, in one directory, by GNU tar and by umoci`);
}

function minimalRoot(root: string): void {
  const suite = /^VERSION_CODENAME=(.+)$/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))?.[1];
  assert(suite !== undefined, '/etc/os-release names no suite');
  try {
    execFileSync('debootstrap', ['--variant=minbase', suite, root], { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Error('debootstrap made no root: it has to be installed, and a mirror within reach', { cause: error });
  }
  // What it was installed from is half of it, and no part of an image.
  fs.rmSync(join(root, 'var/cache/apt/archives'), { recursive: true });
}
