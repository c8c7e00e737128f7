import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { useCri } from '../support/cri-suite.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { waitFor } from '../support/wait-for.ts';

const atStart = busyboxImage({ files: [{ name: 'own', data: 'at the start' }] });
const startName = 'example.com/drop/start:1';
const suite = useCri((dir) => {
  // The daemons are started after this.
  mkdirSync(join(dir, 'root/drop'), { recursive: true });
  writeFileSync(join(dir, 'root/drop/start.tar'), ociArchive(atStart, startName));
  writeFileSync(join(dir, 'root/drop/bad.tar'), 'this is no archive'.repeat(100));
  return {};
});

const at = (name: string) => join(suite.dir, 'root/drop', name);

async function criImage(image: string) {
  return (await suite.cri.image.imageStatus({ image: { image } })).image;
}

async function isReady(): Promise<boolean> {
  const { status } = await suite.cri.runtime.status({}, { waitForReady: true });
  return status?.conditions.find(({ type }) => type === 'RuntimeReady')?.status === true;
}

/** How often an archive was read, as berthd's log has it. */
function imports(name: string): number {
  const lines = readFileSync(join(suite.dir, 'logs/berthd.log'), 'utf8').split('\n');
  return lines.filter((line) => line.includes('archive imported') && line.includes(`/${name}"`)).length;
}

describe('the drop directory', () => {
  it('has its archives imported and pinned when the CRI daemon reports ready', async () => {
    await waitFor('readiness', isReady);
    expect(await criImage(startName)).toMatchObject({ id: atStart.config.digest, pinned: true });
    const byDigest = `example.com/drop/start@${atStart.manifest.digest}`;
    expect(await criImage(byDigest)).toMatchObject({ id: atStart.config.digest, repoDigests: [byDigest] });
    const { images } = await suite.cri.image.listImages({});
    expect(images.filter(({ pinned }) => pinned).map(({ id }) => id)).toEqual([atStart.config.digest]);
  });

  it('says beside a bad archive why it was refused, and takes a good one in its place', async () => {
    expect(readFileSync(at('bad.tar.error'), 'utf8')).toMatch(/tar/);
    const mended = busyboxImage({ files: [{ name: 'own', data: 'mended' }] });
    writeFileSync(at('.mended'), ociArchive(mended, 'example.com/drop/mended:1'));
    renameSync(at('.mended'), at('bad.tar'));
    await waitFor('the image', async () => (await criImage('example.com/drop/mended:1'))?.pinned);
    await waitFor('the message to go', () => !existsSync(at('bad.tar.error')));
  });

  it('waits for an archive that is still being written', async () => {
    const image = busyboxImage({ files: [{ name: 'own', data: 'in two parts' }] });
    const archive = gzipSync(ociArchive(image, 'example.com/drop/parts:1'));
    writeFileSync(at('parts.tar.gz'), archive.subarray(0, archive.length / 2));
    await waitFor('the half to be refused', () => existsSync(at('parts.tar.gz.error')));
    expect(await criImage('example.com/drop/parts:1')).toBeNull();
    writeFileSync(at('parts.tar.gz'), archive.subarray(archive.length / 2), { flag: 'a' });
    await waitFor('the image', async () => (await criImage('example.com/drop/parts:1'))?.pinned);
    await waitFor('the message to go', () => !existsSync(at('parts.tar.gz.error')));
  });

  it('reads an archive once, however often the file is renamed and the daemon killed', async () => {
    expect(imports('start.tar')).toBe(1);
    renameSync(at('start.tar'), at('renamed.tar'));
    await suite.berth.berthd.daemon.restartAfterKill9();
    // What comes later is looked at later: once this is there, the others have been looked at.
    const last = busyboxImage({ files: [{ name: 'own', data: 'last' }] });
    writeFileSync(at('.z'), ociArchive(last, 'example.com/drop/last:1'));
    renameSync(at('.z'), at('z.tar'));
    await waitFor('the last image', async () => (await criImage('example.com/drop/last:1'))?.pinned);
    expect(imports('start.tar') + imports('renamed.tar')).toBe(1);
    expect(imports('parts.tar.gz')).toBe(1);
    expect(await criImage(startName)).toMatchObject({ pinned: true });
  });

  it('takes directories with an OCI layout that are renamed to it, and unpins what goes with one', async () => {
    const image = busyboxImage({ files: [{ name: 'own', data: 'in a directory' }] });
    const name = 'example.com/drop/directory:1';
    renameSync(writeOciLayout(at('.layout'), image, name), at('layout'));
    await waitFor('the image', async () => (await criImage(name))?.pinned);
    renameSync(at('layout'), at('layout-renamed'));
    mkdirSync(at('.broken'));
    writeFileSync(at('.broken/index.json'), '{}');
    renameSync(at('.broken'), at('broken'));
    await waitFor('the other to be refused', () => existsSync(at('broken.error')));
    expect(readFileSync(at('broken.error'), 'utf8')).toMatch(/no oci-layout/);
    expect(imports('layout') + imports('layout-renamed')).toBe(1);
    rmSync(at('layout-renamed'), { recursive: true });
    await waitFor('the image to be unpinned', async () => (await criImage(name))?.pinned === false);
  });

  it('reads it again at the start when its images were removed', async () => {
    await suite.cri.image.removeImage({ image: { image: 'example.com/drop/last:1' } });
    expect(await criImage('example.com/drop/last:1')).toBeNull();
    await suite.berth.berthd.daemon.restartAfterKill9();
    await waitFor('the image', async () => (await criImage('example.com/drop/last:1'))?.pinned);
  });

  it('unpins images whose archive is taken away, and leaves them', async () => {
    rmSync(at('renamed.tar'));
    await waitFor('the image to be unpinned', async () => (await criImage(startName))?.pinned === false);
    expect(await criImage('example.com/drop/last:1')).toMatchObject({ pinned: true });
  });
});
