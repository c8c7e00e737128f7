import { describe, expect, it } from 'vitest';
import type { Descriptor } from '../../../apps/core/registry/document.ts';
import { referenceLabels, selectManifests } from '../../../apps/core/transfer/image-graph.ts';
import { archiveNames, rootNames } from '../../../apps/core/transfer/image-names.ts';
import { Limiter } from '../../../apps/core/transfer/limiter.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

function descriptor(id: string, extra: Partial<Descriptor> = {}): Descriptor {
  return { mediaType: MANIFEST, digest: `sha256:${id.padEnd(64, '0')}`, size: 1, ...extra };
}

function forPlatform(id: string, platform: string): Descriptor {
  const [os = '', architecture = '', variant] = platform.split('/');
  return descriptor(id, { platform: { os, architecture, ...(variant === undefined ? {} : { variant }) } });
}

describe('selectManifests', () => {
  const amd64 = forPlatform('a', 'linux/amd64');
  const v3 = forPlatform('b', 'linux/amd64/v3');
  const i386 = forPlatform('c', 'linux/386');
  const arm64 = forPlatform('d', 'linux/arm64');
  const attestation = forPlatform('e', 'unknown/unknown');
  const index = { kind: 'index', manifests: [i386, amd64, v3, arm64, attestation] } as const;
  const wanted = (...platforms: string[]) => ({
    platforms: platforms.map((platform) => forPlatform('', platform).platform as NonNullable<Descriptor['platform']>),
    limit: 0,
  });

  it('takes the best match for each platform and nothing else', () => {
    expect(selectManifests(index, wanted('linux/amd64'), 'x')).toEqual([amd64]);
    expect(selectManifests(index, wanted('linux/amd64/v3'), 'x')).toEqual([v3]);
    expect(selectManifests(index, wanted('linux/amd64/v2'), 'x')).toEqual([amd64]);
    expect(selectManifests(index, wanted('linux/arm64', 'linux/amd64'), 'x')).toEqual([arm64, amd64]);
    expect(selectManifests({ ...index, manifests: [i386] }, wanted('linux/amd64'), 'x')).toEqual([i386]);
  });

  it('takes everything when no platform is wanted, up to the limit', () => {
    expect(selectManifests(index, { platforms: [], limit: 0 }, 'x')).toHaveLength(5);
    expect(selectManifests(index, { platforms: [], limit: 2 }, 'x')).toEqual([i386, amd64]);
  });

  it('leaves an entry without a platform to its config, after all others', () => {
    const bare = descriptor('f');
    expect(selectManifests({ kind: 'index', manifests: [bare] }, wanted('linux/amd64'), 'x')).toEqual([bare]);
    expect(selectManifests({ kind: 'index', manifests: [bare, amd64] }, wanted('linux/amd64'), 'x')).toEqual([amd64]);
  });

  it('says what there is when nothing matches', () => {
    expect(() => selectManifests(index, wanted('linux/riscv64'), 'example.com/x:1')).toThrow(
      'example.com/x:1 has no image for linux/riscv64; it has linux/386, linux/amd64, linux/amd64/v3, linux/arm64',
    );
  });
});

describe('referenceLabels', () => {
  it('counts manifests and layers, and names the config', () => {
    const layer = (id: string) => descriptor(id, { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' });
    const config = descriptor('1', { mediaType: 'application/vnd.oci.image.config.v1+json' });
    const other = descriptor('5', { mediaType: 'application/x' });
    const children = [config, layer('2'), layer('3'), descriptor('4'), other];
    expect(
      Object.keys(referenceLabels(children)).map((key) => key.replace('containerd.io/gc.ref.content', '')),
    ).toEqual(['.config', '.l.0', '.l.1', '.m.0', '.0']);
  });
});

describe('the names of a transfer', () => {
  const rule = { name: 'h.io/r', isPrefix: true, allowOverwrite: false, addDigest: false, skipNamedDigest: false };
  const destination = {
    ns: 'n',
    name: 'h.io/r:1',
    labels: {},
    rules: [rule, { ...rule, name: 'also:2', isPrefix: false }],
  };
  const root = descriptor('a');

  it('are the one asked for and those that need no archive', () => {
    expect(rootNames(destination, root)).toEqual(['h.io/r:1', 'also:2']);
    const withDigest = { ...destination, rules: [{ ...rule, addDigest: true }] };
    expect(rootNames(withDigest, root)).toEqual(['h.io/r:1', `h.io/r@${root.digest}`]);
  });

  it.each([
    ['a tag', { 'org.opencontainers.image.ref.name': 'v1' }, {}, ['h.io/r:v1']],
    ['a reference inside the prefix', { 'org.opencontainers.image.ref.name': 'h.io/r/sub:1' }, {}, ['h.io/r/sub:1']],
    ['a reference that only begins alike', { 'org.opencontainers.image.ref.name': 'h.io/rx:1' }, {}, []],
    ['a whole name elsewhere', { 'io.containerd.image.name': 'e.io/x:1' }, {}, []],
    [
      'a whole name elsewhere, allowed',
      { 'io.containerd.image.name': 'e.io/x:1' },
      { allowOverwrite: true },
      ['e.io/x:1'],
    ],
    ['no name, by digest', {}, { addDigest: true }, [`h.io/r@${root.digest}`]],
    [
      'a name, and no digest beside it',
      { 'org.opencontainers.image.ref.name': 'v1' },
      { addDigest: true, skipNamedDigest: true },
      ['h.io/r:v1'],
    ],
  ])('come from %s in an archive', (_what, annotations, change, names) => {
    const rules = [{ ...rule, ...change }];
    expect(archiveNames({ ...destination, rules }, { ...root, annotations })).toEqual(names);
  });
});

describe('Limiter', () => {
  it('runs so many at a time, and the rest in order, also after a failure', async () => {
    const limiter = new Limiter(2);
    const started: number[] = [];
    let running = 0;
    let most = 0;
    const task = (id: number) => async () => {
      started.push(id);
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      if (id === 1) throw new Error('one fails');
    };
    const results = await Promise.allSettled([1, 2, 3, 4, 5].map((id) => limiter.run(task(id))));
    expect(started).toEqual([1, 2, 3, 4, 5]);
    expect(most).toBe(2);
    expect(results.map(({ status }) => status)).toEqual(['rejected', ...Array(4).fill('fulfilled')]);
  });
});
