import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import * as native from '#common/native/index.ts';
import type { LayerApplier } from '../../apps/core/diff/apply.ts';
import type { Mount } from '../../apps/core/snapshots/snapshotter.ts';
import { writeOciLayout } from './oci-layout.ts';
import { rawImage } from './raw-image.ts';
import { describeTree } from './trees.ts';

const corpus = join(import.meta.dirname, '../../dist/corpus');

/** Why there are no Debian packages to unpack; undefined when there are. */
export function missingCorpus(): string | undefined {
  if (fs.existsSync(join(corpus, 'complete'))) return undefined;
  const reason = join(corpus, 'missing');
  return fs.existsSync(reason) ? fs.readFileSync(reason, 'utf8').trim() : 'deploy/corpus.sh has not run';
}

/** What Debian's packages would put on a disk, an archive each, as whoever built them wrote it. */
export function packageLayers(): Buffer[] {
  const names = fs.readdirSync(corpus).filter((name) => name.endsWith('.deb'));
  return names.sort().map((name) => run('dpkg-deb', ['--fsys-tarfile', join(corpus, name)]));
}

/** The root directory's owner, mode and attributes, and all below it. */
export function describeRoot(root: string): string[] {
  const { mode, uid, gid } = fs.statSync(root);
  const xattrs = native.llistxattr(root).filter((name) => !name.startsWith('trusted.overlay.'));
  return [`/ ${mode.toString(8)} ${uid} ${gid} ${xattrs.join(',')}`, ...describeTree(root)];
}

/** What GNU tar makes of archives unpacked over each other. It knows no whiteouts. */
export function withTar(layers: readonly Buffer[], directory: string): string[] {
  fs.mkdirSync(directory);
  // Without the last one a member that comes after others of another directory leaves its own with the time of now.
  const kept = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '--delay-directory-restore'];
  for (const layer of layers) run('tar', [...kept, '-xpf', '-', '-C', directory], layer);
  return describeRoot(directory);
}

/** What umoci makes of an image with these layers. */
export function withUmoci(layers: readonly Buffer[], directory: string): string[] {
  const layout = writeOciLayout(join(directory, 'layout'), rawImage(layers), 'corpus');
  const bundle = join(directory, 'bundle');
  run('umoci', ['unpack', '--image', `${layout}:corpus`, bundle]);
  return describeRoot(join(bundle, 'rootfs'));
}

/** What Berth makes of them: snapshots of overlayfs, mounted on each other. */
export async function withOverlay(
  applier: LayerApplier,
  layers: readonly Buffer[],
  directory: string,
): Promise<string[]> {
  const lowers: string[] = [];
  for (const [at, layer] of layers.entries()) {
    const upper = join(directory, `${at}`);
    fs.mkdirSync(upper, { recursive: true });
    // As the snapshotter does it.
    const below = lowers[0] === undefined ? { mode: 0o755, uid: 0, gid: 0 } : fs.statSync(lowers[0]);
    fs.chmodSync(upper, below.mode & 0o7777);
    fs.chownSync(upper, below.uid, below.gid);
    const options = [`workdir=${directory}/work`, `upperdir=${upper}`, `lowerdir=${lowers.join(':')}`];
    const bind: Mount = { type: 'bind', source: upper, options: ['rbind', 'rw'] };
    await apply(
      applier,
      layer,
      join(directory, 'blob'),
      at === 0 ? bind : { type: 'overlay', source: 'overlay', options },
    );
    lowers.unshift(upper);
  }
  const merged = join(directory, 'merged');
  fs.mkdirSync(merged);
  fs.mkdirSync(join(directory, 'empty'));
  native.mount(
    'overlay',
    merged,
    'overlay',
    native.MS.RDONLY,
    `lowerdir=${[...lowers, `${directory}/empty`].join(':')}`,
  );
  try {
    return describeRoot(merged);
  } finally {
    native.umount(merged, 0);
  }
}

/** What Berth makes of them in one directory, as the native snapshotter has it. */
export async function withDirectory(
  applier: LayerApplier,
  layers: readonly Buffer[],
  directory: string,
): Promise<string[]> {
  const out = join(directory, 'out');
  fs.mkdirSync(out, { recursive: true });
  for (const layer of layers) {
    await apply(applier, layer, join(directory, 'blob'), { type: 'bind', source: out, options: ['rbind', 'rw'] });
  }
  return describeRoot(out);
}

async function apply(applier: LayerApplier, layer: Buffer, blobPath: string, mount: Mount): Promise<void> {
  fs.writeFileSync(blobPath, layer);
  await applier.apply({ blobPath, mediaType: 'application/vnd.oci.image.layer.v1.tar', mounts: [mount] });
}

function run(command: string, args: readonly string[], input?: Buffer): Buffer {
  return execFileSync(command, args, { input: input ?? '', maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'pipe'] });
}
