import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { sha256 } from '#common/digest.ts';
import type { Index, Manifest } from '#common/oci/image.ts';
import { buildImage, imageArchive } from '#common/oci/image-archive.ts';
import { archiveEnd, fileFrame, type TarEntry, tarArchive } from '#common/oci/tar-writer.ts';

const entries: TarEntry[] = [
  { type: 'directory', name: 'bin/' },
  { type: 'file', name: 'bin/tool', data: 'x'.repeat(513), mode: 0o755 },
  { type: 'symlink', name: 'bin/alias', target: 'tool' },
  { type: 'file', name: 'empty', data: '' },
];

/** What tar itself lists. */
function list(archive: Buffer): string[][] {
  const text = execFileSync('tar', ['-tv', '--numeric-owner'], { input: archive, encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .map((line) => line.split(/\s+/));
}

test('tar lists the members with mode, owner, size and target', () => {
  const members = list(tarArchive(entries)).map(([mode, owner, size, , , ...name]) => [mode, owner, size, ...name]);
  expect(members).toEqual([
    ['drwxr-xr-x', '0/0', '0', 'bin/'],
    ['-rwxr-xr-x', '0/0', '513', 'bin/tool'],
    ['lrwxrwxrwx', '0/0', '0', 'bin/alias', '->', 'tool'],
    ['-rw-r--r--', '0/0', '0', 'empty'],
  ]);
});

test('a name that ustar cannot hold is refused', () => {
  expect(() => tarArchive([{ type: 'directory', name: 'x'.repeat(101) }])).toThrow(/too long/);
});

test('an image archive holds each blob under its digest, and names the image', () => {
  const image = buildImage(entries, { Cmd: ['tool'] });
  const archive = imageArchive(image, 'docker.io/library/made:1');
  const read = (name: string) => execFileSync('tar', ['-xO', name], { input: archive });
  const index = JSON.parse(read('index.json').toString()) as Index;
  expect(index.manifests[0]?.annotations).toEqual({ 'io.containerd.image.name': 'docker.io/library/made:1' });
  for (const { descriptor } of [image.manifest, image.config, image.layer]) {
    const data = read(`blobs/${descriptor.digest.replace(':', '/')}`);
    expect([sha256(data), data.length]).toEqual([descriptor.digest, descriptor.size]);
  }
  const manifest = JSON.parse(image.manifest.data.toString()) as Manifest;
  expect(manifest.layers).toEqual([image.layer.descriptor]);
});

test('the same input makes the same image', () => {
  const digestOf = () => buildImage(entries, {}).manifest.descriptor.digest;
  expect(digestOf()).toBe(digestOf());
});

test('an archive written in pieces is the same as one made in memory', () => {
  const data = 'some text';
  const { header, padding } = fileFrame('a/file', data.length);
  const pieces = Buffer.concat([header, Buffer.from(data), padding, archiveEnd]);
  expect(pieces).toEqual(tarArchive([{ type: 'file', name: 'a/file', data }]));
});

test('a file that ustar has no number for is refused', () => {
  expect(() => fileFrame('big', 8 * 1024 ** 3)).toThrow('"big" is too big');
});
