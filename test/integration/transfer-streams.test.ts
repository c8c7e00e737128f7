import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { echoBytes, exportArchive, importArchive } from '../support/transfers.ts';

const suite = useBerthd();

describe('a transfer from one stream to another', () => {
  it.each([0, 11, 1_000_000])('hands %i bytes on as they are', async (length) => {
    const bytes = randomBytes(length);
    expect(await echoBytes(suite.clients, bytes)).toEqual(bytes);
  });
});

describe('an export', () => {
  const name = 'example.com/export:1';

  it('is an OCI layout that can be imported again, whole and under the same name', async () => {
    const { clients } = suite;
    const image = busyboxImage();
    await importArchive(clients, ociArchive(image, name), '');
    const archive = await exportArchive(clients, { name });
    const members = execFileSync('tar', ['-t'], { input: archive, encoding: 'utf8' }).trim().split('\n');
    const blobs = [image.manifest, image.config, ...image.layers].map(
      ({ digest }) => `blobs/${digest.replace(':', '/')}`,
    );
    expect(members.sort()).toEqual(['index.json', 'manifest.json', 'oci-layout', ...new Set(blobs)].sort());
    const docker = execFileSync('tar', ['-xO', 'manifest.json'], { input: archive, encoding: 'utf8' });
    expect(JSON.parse(docker)).toEqual([expect.objectContaining({ RepoTags: [name] })]);

    await clients.images.delete({ name, sync: true });
    await expect(clients.content.info({ digest: image.manifest.digest })).rejects.toMatchObject({ code: 'not_found' });
    await importArchive(clients, archive, '');
    const { image: again } = await clients.images.get({ name });
    expect(again?.target?.digest).toBe(image.manifest.digest);
  });

  it('leaves out what only Docker needs when it is told so', async () => {
    const archive = await exportArchive(suite.clients, { name }, { skipCompatibilityManifest: true });
    expect(execFileSync('tar', ['-t'], { input: archive, encoding: 'utf8' })).not.toContain('manifest.json');
  });

  it('of an unknown image, or one with a part missing, is not found', async () => {
    const { clients } = suite;
    await expect(exportArchive(clients, { name: 'example.com/none:1' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(exportArchive(clients, {})).rejects.toMatchObject({ code: 'invalid_argument' });
    const { image } = await clients.images.get({ name });
    const { digest = '' } = image?.target ?? {};
    const { info } = await clients.content.info({ digest });
    const layer = Object.entries(info?.labels ?? {}).find(([key]) => key.includes('gc.ref.content.l.'))?.[1] ?? '';
    await clients.content.delete({ digest: layer });
    await expect(exportArchive(clients, { name })).rejects.toMatchObject({ code: 'not_found' });
  });
});
