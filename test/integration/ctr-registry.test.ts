import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { baseLayer, busyboxImage, dockerArchive, ociArchive } from '../support/busybox-image.ts';
import { Ctr, ctrKinds } from '../support/ctr.ts';
import { Registry } from '../support/registry.ts';

const suite = useBerthd();
let registry: Registry;

beforeAll(async () => {
  registry = await Registry.start(suite.dir);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

describe.each(ctrKinds)('images by the $kind ctr', ({ kind, program, missing }) => {
  const image = busyboxImage({ files: [{ name: `etc/${kind}`, data: `${kind}\n` }] });
  const name = `example.com/${kind}/image:1`;
  let ctr: Ctr;
  let archive: string;
  beforeEach(({ skip }) => skip(missing !== undefined, missing));
  beforeAll(() => {
    ctr = new Ctr(suite.berthd.socket, `${suite.namespace}-${kind}`, suite.dir, { program });
    archive = join(suite.dir, `${kind}.tar`);
    writeFileSync(archive, ociArchive(image, name));
  });

  it('import: an archive, unpacked and complete', async () => {
    await ctr.run('images', 'import', archive);
    expect(await ctr.table('images', 'ls')).toContainEqual(expect.arrayContaining([name, image.manifest.digest]));
    expect(await ctr.run('images', 'check', `name==${name}`)).toMatch(/complete \(3\/3\).*true/);
  });

  it('import: names by digest, below a base name, for an index', async () => {
    const named = (what: string): string => `example.com/${kind}/${what}`;
    await ctr.run('images', 'import', '--no-unpack', '--base-name', named('base'), '--digests', archive);
    await ctr.run('images', 'import', '--no-unpack', '--index-name', named('index:1'), archive);
    const names = (await ctr.run('images', 'ls', '-q')).trim().split('\n');
    expect(names).toEqual(expect.arrayContaining([`${named('base')}@${image.manifest.digest}`, named('index:1')]));
  });

  it('import: what docker save writes, its layers compressed', async () => {
    const saved = join(suite.dir, `${kind}-docker.tar`);
    const plain = busyboxImage({ labels: { saved: kind } });
    const reference = `example.com/${kind}/saved:1`;
    writeFileSync(saved, dockerArchive(plain, reference, [baseLayer()]));
    await ctr.run('images', 'import', '--compress-blobs', saved);
    expect(await ctr.run('images', 'check', `name==${reference}`)).toMatch(/complete \(2\/2\).*true/);
  });

  it('tag, label: names and labels of an image', async () => {
    const other = `example.com/${kind}/tagged:1`;
    await ctr.run('images', 'tag', name, other);
    expect((await ctr.try('images', 'tag', name, other)).code).toBe(kind === 'debian' ? 1 : 0);
    await ctr.run('images', 'tag', '--force', name, other);
    await ctr.run('images', 'label', other, 'colour=blue');
    expect((await ctr.table('images', 'ls', `name==${other}`))[0]?.at(-1)).toBe('colour=blue');
  });

  it('mount, unmount: the files of an image, to read and to write', async () => {
    const at = join(suite.dir, `${kind}-mount`);
    mkdirSync(at);
    await ctr.run('images', 'mount', name, at);
    expect(readFileSync(join(at, 'etc', kind), 'utf8')).toBe(`${kind}\n`);
    expect(() => writeFileSync(join(at, 'new'), '')).toThrow(/EROFS/);
    await ctr.run('images', 'unmount', '--rm', at);
    await ctr.run('images', 'mount', '--rw', name, at);
    writeFileSync(join(at, 'new'), '');
    await ctr.run('images', 'unmount', '--rm', at);
    expect(existsSync(join(at, 'new'))).toBe(false);
    expect((await ctr.run('snapshots', 'ls')).trim()).not.toContain(at);
  });

  it('convert: an image with plain layers', async () => {
    const converted = `example.com/${kind}/plain:1`;
    await ctr.run('images', 'convert', '--oci', '--uncompress', name, converted);
    const { images } = await suite.berthd.clients(`${suite.namespace}-${kind}`).images.list({});
    const digest = images.find((one) => one.name === converted)?.target?.digest ?? '';
    const manifest = JSON.parse(await ctr.run('content', 'get', digest));
    expect(manifest.layers[0].mediaType).toBe('application/vnd.oci.image.layer.v1.tar');
    await ctr.run('images', 'rm', '--sync', converted);
    expect(await ctr.run('content', 'ls', '-q')).not.toContain(digest);
  });

  it('push, pull: an image to a registry and back, also by the client itself', async () => {
    const local = kind === 'newer' ? [['--local'], []] : [[]];
    for (const [at, flags] of local.entries()) {
      const reference = `${registry.host}/${kind}/pushed:${at}`;
      await ctr.run('images', 'push', ...flags, '--plain-http', reference, name);
      await ctr.run('images', 'pull', ...flags, '--plain-http', reference);
      expect(await ctr.table('images', 'ls', `name==${reference}`)).toEqual([
        expect.arrayContaining([reference, image.manifest.digest]),
      ]);
      await ctr.run('images', 'rm', reference);
      await ctr.run('images', 'pull', ...flags, '--plain-http', '--all-platforms', reference);
    }
    const { stdout } = await ctr.try('images', 'push', '--plain-http', `${registry.host}/${kind}/pushed:0`, name);
    expect(stdout).toMatch(kind === 'newer' ? /already exists/ : /done/);
  });

  it('push, pull: what is missing or unreachable is named', async () => {
    const unknown = await ctr.try('images', 'push', '--plain-http', `${registry.host}/x/y:1`, 'example.com/none:1');
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringMatching(/example.com\/none:1.*not found/) });
    const nothing = await ctr.try('images', 'pull', '--plain-http', `${registry.host}/${kind}/nothing:1`);
    expect(nothing).toMatchObject({ code: 1, stderr: expect.stringContaining('not found') });
    const nowhere = await ctr.try('images', 'push', '--plain-http', '127.0.0.1:1/x/y:1', name);
    expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringMatching(/refused/i) });
  });

  it('fetch, fetch-object, push-object: parts of an image', async () => {
    const reference = `${registry.host}/${kind}/pushed:0`;
    await ctr.run('content', 'fetch', '--plain-http', reference);
    const object = await ctr.run('content', 'fetch-object', '--plain-http', reference, image.manifest.digest);
    expect(object).toContain(image.config.digest);
    const { digest, mediaType } = image.config;
    const elsewhere = `${registry.host}/${kind}/parts:1`;
    await ctr.run('content', 'push-object', '--plain-http', elsewhere, digest, mediaType);
    const served = await fetch(`http://${registry.host}/v2/${kind}/parts/blobs/${digest}`);
    expect(Buffer.from(await served.arrayBuffer())).toEqual(image.config.data);
  });

  it('export: an archive for everybody, or for a platform', async () => {
    const members = (path: string): string[] => execFileSync('tar', ['-tf', path], { encoding: 'utf8' }).split('\n');
    const whole = join(suite.dir, `${kind}-whole.tar`);
    await ctr.run('images', 'export', whole, name);
    expect(members(whole)).toEqual(expect.arrayContaining(['oci-layout', 'index.json', 'manifest.json']));
    // Debian's client knows the flag, but doesn't heed it.
    const bare = join(suite.dir, `${kind}-bare.tar`);
    await ctr.run('images', 'export', '--skip-manifest-json', bare, name);
    if (kind === 'newer') expect(members(bare)).not.toContain('manifest.json');
    const all = join(suite.dir, `${kind}-all.tar`);
    await ctr.run('images', 'export', '--all-platforms', all, name);
    expect(members(all)).toContain(`blobs/${image.config.digest.replace(':', '/')}`);
  });

  it('rm: images, and what only they had', async () => {
    const all = (await ctr.run('images', 'ls', '-q')).trim().split('\n');
    await ctr.run('images', 'rm', '--sync', ...all);
    expect((await ctr.run('images', 'ls', '-q')).trim()).toBe('');
    expect((await ctr.run('content', 'ls', '-q')).trim()).toBe('');
    expect((await ctr.run('snapshots', 'ls')).trim().split('\n')).toHaveLength(1);
    expect((await ctr.try('images', 'rm', name)).stderr).toContain('not found');
  });
});
