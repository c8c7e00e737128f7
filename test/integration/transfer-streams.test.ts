import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { openBlobs } from '../support/open-files.ts';
import {
  echoBytes,
  exportArchive,
  importArchive,
  openLog,
  pack,
  pull,
  serveCredentials,
} from '../support/transfers.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();

describe('a transfer from one stream to another', () => {
  it.each([0, 11, 1_000_000])('hands %i bytes on as they are', async (length) => {
    const bytes = randomBytes(length);
    expect(await echoBytes(suite.clients, bytes)).toEqual(bytes);
  });
});

describe('a transfer whose streams are not what it was told', () => {
  const store = pack('containerd.types.transfer.ImageStore', { name: 'example.com/streams:1' });

  it('is refused before anything happens', async () => {
    const { transfer } = suite.clients.transfer;
    const archive = pack('containerd.types.transfer.ImageImportStream', { stream: 'never-opened' });
    const resolver = { authStream: 'never-opened' };
    const registry = pack('containerd.types.transfer.OCIRegistry', { reference: 'example.com/a:1', resolver });
    for (const source of [archive, registry]) {
      await expect(transfer({ source, destination: store })).rejects.toMatchObject({
        code: 'not_found',
        message: expect.stringContaining('never-opened'),
      });
    }
    const options = { progressStream: 'never-opened' };
    await expect(transfer({ source: store, destination: store, options })).rejects.toMatchObject({ code: 'not_found' });
    await expect(transfer({ source: store })).rejects.toMatchObject({ code: 'invalid_argument' });
    expect((await suite.clients.leases.list({})).leases).toEqual([]);
  });

  it('ends when the client doesn’t take what it asked for, with no file left open', async () => {
    const { clients } = suite;
    const name = 'example.com/streams/left:1';
    const data = randomBytes(3_000_000).toString('base64');
    await importArchive(clients, ociArchive(busyboxImage({ files: [{ name: 'big', data }] }), name), '', {
      unpack: false,
    });
    const leaving = new AbortController();
    const exported = exportArchive(clients, { name }, { signal: leaving.signal, window: 64 * 1024 });
    await waitFor('the export to read a blob', () => openBlobs(suite.berthd.daemon.pid) > 0);
    leaving.abort();
    await expect(exported).rejects.toMatchObject({ code: 'canceled' });
    await waitFor('the blob to be closed', () => openBlobs(suite.berthd.daemon.pid) === 0);
    expect((await clients.leases.list({})).leases).toEqual([]);
  });
});

describe('a client that wants to see what is said to a registry', () => {
  it('reads each request and its answer, and nothing secret', async () => {
    await using registry = await FakeRegistry.start();
    registry.intercept = ({ headers }, response) => {
      if (headers.authorization !== undefined) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      return true;
    };
    const image = busyboxImage({ files: [{ name: 'logged', data: 'x' }] });
    const reference = registry.add(image);
    await using credentials = await serveCredentials(suite.clients, 'me', 'hidden');
    const log = await openLog(suite.clients);
    const resolver = { authStream: credentials.id, logsStream: log.id, httpDebug: 'DEBUG' } as const;
    await pull(suite.clients, reference, { resolver, unpack: false });
    const text = await log.text;
    expect(text).toContain(`HEAD http://${registry.host}/v2/test/image/manifests/latest: 401`);
    expect(text).toContain(`GET http://${registry.host}/v2/test/image/blobs/${image.config.digest}: 200`);
    expect(text).not.toMatch(/hidden|Basic|authorization/i);
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
