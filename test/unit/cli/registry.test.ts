import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildImage } from '#common/oci/image-archive.ts';
import { http } from '../../../apps/cli/demo/http.ts';
import { Registry } from '../../../apps/cli/demo/registry.ts';

test('an image that was pushed to the demo registry is served under its tag', async ({ skip }) => {
  if (!existsSync('/usr/bin/docker-registry')) skip('docker-registry is not installed');
  const directory = await mkdtemp(join(tmpdir(), 'berth-registry-'));
  const { signal } = new AbortController();
  try {
    await using registry = await Registry.start(directory, signal);
    const image = buildImage([{ type: 'file', name: 'f', data: 'x' }], {});
    await registry.push(image, 'demo/made', '1', signal);
    const { digest } = image.layer.descriptor;
    const blob = await http(`http://${registry.host}/v2/demo/made/blobs/${digest}`, { signal });
    expect([blob.status, blob.headers['docker-content-digest']]).toEqual([200, digest]);
    const tags = await http(`http://${registry.host}/v2/demo/made/tags/list`, { signal });
    expect(JSON.parse(tags.body)).toEqual({ name: 'demo/made', tags: ['1'] });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
