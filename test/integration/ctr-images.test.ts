import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { baseLayer, busyboxImage, dockerArchive, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';
import { Registry } from '../support/registry.ts';

const suite = useBerthd();
const image = busyboxImage({ files: [{ name: 'etc/greeting', data: 'hello\n' }] });
let ctr: Ctr;
let registry: Registry;

beforeAll(async () => {
  ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
  registry = await Registry.start(suite.dir);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

function archive(name: string, data: Buffer): string {
  const path = join(suite.dir, name);
  writeFileSync(path, data);
  return path;
}

describe('ctr, against the core daemon', () => {
  it('imports the archive of docker save', async () => {
    const single = busyboxImage({ labels: { from: 'docker' } });
    const name = 'docker.io/library/saved:1';
    await ctr.run('images', 'import', archive('docker.tar', dockerArchive(single, name, [baseLayer()])));
    expect((await ctr.table('images', 'ls', `name==${name}`)).map(([first]) => first)).toEqual([name]);
  });

  it('pulls from a registry, layers, configuration and all', async () => {
    const reference = await registry.push(image, 'team/app', 'v1');
    await ctr.run('images', 'pull', '--plain-http', reference);
    expect(await ctr.run('images', 'ls', '-q', `name==${reference}`)).toBe(`${reference}\n`);
    const result = await ctr.runContainer('--rm', reference, 'pulled', 'cat', '/etc/greeting');
    expect(result).toMatchObject({ code: 0, stdout: 'hello\n' });
  });

  it('tags, exports and removes images, after which their content is collected', async () => {
    const other = busyboxImage({ labels: { only: 'here' } });
    const name = 'docker.io/library/short-lived:1';
    await ctr.run('images', 'import', archive('other.tar', ociArchive(other, name)));
    await ctr.run('images', 'tag', name, 'docker.io/library/second:1');
    await ctr.run('images', 'export', join(suite.dir, 'export.tar'), name);
    await ctr.run('images', 'rm', '--sync', name);
    expect(await ctr.run('content', 'ls', '-q')).toContain(other.config.digest);
    await ctr.run('images', 'rm', '--sync', 'docker.io/library/second:1');
    expect(await ctr.run('content', 'ls', '-q')).not.toContain(other.config.digest);
    await ctr.run('images', 'import', join(suite.dir, 'export.tar'));
    expect(await ctr.run('content', 'ls', '-q')).toContain(other.config.digest);
  });

  it('is told when a reference is malformed, a tag missing and a registry unreachable', async () => {
    const malformed = await ctr.try('images', 'pull', '--plain-http', 'UPPER/case:not:one');
    expect(malformed.code).not.toBe(0);
    const missing = await ctr.try('images', 'pull', '--plain-http', `${registry.host}/team/nothing:v1`);
    expect(missing.stderr).toMatch(/not found/);
    const unreachable = await ctr.try('images', 'pull', '--plain-http', '127.0.0.1:1/team/app:v1');
    expect(unreachable.stderr).toMatch(/refused/);
  });

  it('is told when a layer does not match its digest, and nothing of the image stays', async () => {
    const broken = busyboxImage({ files: [{ name: 'broken', data: 'layer' }] });
    const reference = await registry.push(broken, 'team/broken', 'v1');
    const layer = broken.layers[1] as (typeof broken.layers)[number];
    registry.corrupt(layer);
    const result = await ctr.try('images', 'pull', '--plain-http', reference);
    expect(result.stderr).toContain(layer.digest);
    expect(await ctr.run('images', 'ls', '-q')).not.toContain(reference);
    expect(await ctr.run('content', 'ls', '-q')).not.toContain(layer.digest);
  });
});
