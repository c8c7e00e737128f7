import { describe, expect, it } from 'vitest';
import { type Challenge, parseChallenges } from '../../../apps/core/registry/challenge.ts';
import { redactUrl } from '../../../apps/core/registry/credentials.ts';
import { parseDocument, parseImageRootfs } from '../../../apps/core/registry/document.ts';
import { parseHostsFile } from '../../../apps/core/registry/hosts-file.ts';
import { isLoopback } from '../../../apps/core/registry/loopback.ts';
import { platformDistance } from '../../../apps/core/registry/platform.ts';
import { retryAfter } from '../../../apps/core/registry/retry.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const DIGEST = `sha256:${'a'.repeat(64)}`;

function plain(challenges: readonly Challenge[]): unknown {
  return challenges.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

describe('parseChallenges', () => {
  it('reads a bearer challenge with its parameters', () => {
    const value = 'Bearer realm="https://auth.example.com/token",service="reg",scope="repository:a/b:pull,push"';
    expect(plain(parseChallenges([value]))).toEqual([
      ['bearer', { realm: 'https://auth.example.com/token', service: 'reg', scope: 'repository:a/b:pull,push' }],
    ]);
  });

  it('reads several challenges in one value and in several', () => {
    const expected = [
      ['basic', { realm: 'x' }],
      ['bearer', { realm: 'y', error: 'invalid_token' }],
    ];
    expect(plain(parseChallenges(['Basic realm="x", Bearer realm=y , error="invalid_token"']))).toEqual(expected);
    expect(plain(parseChallenges(['Basic realm="x"', 'Bearer realm=y,error=invalid_token']))).toEqual(expected);
  });

  it('understands quoted quotes and other cases of letters', () => {
    expect(plain(parseChallenges(['BASIC Realm="a \\"b\\""']))).toEqual([['basic', { realm: 'a "b"' }]]);
  });

  it('survives rubbish', () => {
    expect(parseChallenges(['', '=,=', '"', 'realm="x"', '\u{1F600}'])).toEqual([]);
  });
});

describe('parseHostsFile', () => {
  it('puts mirrors in the order of the file and the server last', () => {
    const text = `
server = "https://registry-1.docker.io"
[host."https://b.example.com/prefix"]
  capabilities = ["pull"]
  ca = "b.crt"
  client = [["c.cert", "c.key"], ["d.pem", ""]]
  skip_verify = true
  dial_timeout = "1m30s"
  [host."https://b.example.com/prefix".header]
    x-one = "1"
    x-two = ["2", "3"]
[host."http://a.example.com/v2/upstream"]
  override_path = true
`;
    const entries = parseHostsFile(text, 'hosts.toml');
    expect(entries.map(({ server }) => server?.href)).toEqual([
      'https://b.example.com/prefix/v2',
      'http://a.example.com/v2/upstream',
      'https://registry-1.docker.io/v2',
    ]);
    expect(entries[0]).toMatchObject({
      capabilities: ['pull'],
      ca: ['b.crt'],
      client: [
        ['c.cert', 'c.key'],
        ['d.pem', ''],
      ],
      skipVerify: true,
      dialTimeoutMs: 90_000,
      headers: { 'x-one': ['1'], 'x-two': ['2', '3'] },
    });
    expect(entries[1]?.capabilities).toContain('resolve');
  });

  it('leaves the server open when the file names none', () => {
    expect(parseHostsFile('ca = ["x.crt"]', 'f').map(({ server, ca }) => [server, ca])).toEqual([
      [undefined, ['x.crt']],
    ]);
  });

  it.each([
    ['capabilites = ["pull"]', /hosts\.toml: unknown key "capabilites"; known: capabilities/],
    ['[host."https://m"]\nskip_verifi = true', /unknown key "host\."https:\/\/m"\.skip_verifi"/],
    ['capabilities = ["fly"]', /unknown capability "fly"/],
    ['skip_verify = "yes"', /server\.skip_verify must be true or false/],
    ['dial_timeout = "5"', /"5" is not a duration/],
    ['server = [', /hosts\.toml: line 1/],
    ['[host."http://a b"]', /is not a URL/],
  ])('refuses %j by name', (text, message) => {
    expect(() => parseHostsFile(text, 'hosts.toml')).toThrow(message);
  });
});

describe('parseDocument', () => {
  const descriptor = (mediaType: string) => ({ mediaType, digest: DIGEST, size: 1 });
  const part = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 3 };
  const parse = (value: unknown, mediaType: string) =>
    parseDocument(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), descriptor(mediaType));

  it('reads manifests and indexes', () => {
    expect(parse({ schemaVersion: 2, config: part, layers: [part] }, MANIFEST)).toMatchObject({ kind: 'manifest' });
    const platform = { os: 'linux', architecture: 'arm', variant: 'v7' };
    const index = parse({ manifests: [{ ...part, platform, annotations: { a: 'b' } }] }, INDEX);
    expect(index).toMatchObject({ kind: 'index', manifests: [{ platform, annotations: { a: 'b' } }] });
  });

  it.each([
    [
      'both manifest and index (CVE-2021-41190)',
      { config: part, layers: [], manifests: [] },
      MANIFEST,
      /both a manifest and an index/,
    ],
    ['both index and manifest (CVE-2021-41190)', { manifests: [], layers: [] }, INDEX, /both an index and a manifest/],
    ['another media type inside', { mediaType: INDEX, config: part, layers: [] }, MANIFEST, /calls itself/],
    [
      'a media type that is no text',
      { mediaType: { toString: 1 }, config: part, layers: [] },
      MANIFEST,
      /calls itself/,
    ],
    ['schema 1', { schemaVersion: 1, fsLayers: [] }, MANIFEST, /schema 1/],
    ['schema 1 by its type', {}, 'application/vnd.docker.distribution.manifest.v1+prettyjws', /schema 1/],
    ['a digest that is none', { config: { ...part, digest: 'sha256:../../etc' } }, MANIFEST, /config: invalid digest/],
    ['a negative size', { config: { ...part, size: -1 } }, MANIFEST, /config has no size/],
    ['no config', { layers: [] }, MANIFEST, /config must be an object/],
    ['no JSON', '<html>', MANIFEST, /not JSON/],
    ['a list', [], INDEX, /must be an object/],
    ['an unknown type', {}, 'text/html', /"text\/html" is not supported/],
  ])('refuses a document with %s', (_what, value, mediaType, message) => {
    expect(() => parse(value, mediaType)).toThrow(message);
  });

  it('reads what unpacking needs of a config, and refuses diff ids that are none', () => {
    const config = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [DIGEST] } };
    const read = (value: unknown) => parseImageRootfs(Buffer.from(JSON.stringify(value)), DIGEST);
    expect(read(config)).toEqual({ platform: { os: 'linux', architecture: 'amd64' }, diffIds: [DIGEST] });
    expect(() => read({ rootfs: { diff_ids: ['x'] } })).toThrow(/digest/);
    expect(() => read({ rootfs: { type: 'zfs' } })).toThrow(/"zfs"/);
  });
});

describe('platformDistance', () => {
  const platform = (text: string) => {
    const [os = '', architecture = '', variant = ''] = text.split('/');
    return { os, architecture, ...(variant === '' ? {} : { variant }) };
  };
  it.each([
    ['linux/amd64', 'linux/amd64', 0],
    ['linux/amd64', 'linux/x86_64', 0],
    ['linux/amd64/v3', 'linux/amd64', 2],
    ['linux/amd64', 'linux/amd64/v3', undefined],
    ['linux/amd64', 'linux/386', 100],
    ['linux/amd64', 'linux/arm64', undefined],
    ['linux/amd64', 'windows/amd64', undefined],
    ['linux/amd64', 'unknown/unknown', undefined],
    ['linux/arm64', 'linux/arm64/v8', 0],
    ['linux/arm/v7', 'linux/arm/v6', 1],
    ['linux/arm/v6', 'linux/arm/v7', undefined],
    ['linux/arm64', 'linux/arm/v7', 101],
  ])('finds how well %s runs %s', (wanted, offered, distance) => {
    expect(platformDistance(platform(wanted), platform(offered))).toBe(distance);
  });
});

describe('small parsers', () => {
  it('redacts what may be secret in a URL', () => {
    expect(redactUrl('https://user:pass@h/p?X-Amz-Signature=s#f')).toBe('https://h/p');
  });

  it('knows loopback hosts and no look-alikes', () => {
    const hosts = ['localhost', 'localhost:5000', '127.0.0.1:80', '127.9.9.9', '[::1]:5000'];
    expect(hosts.filter(isLoopback)).toEqual(hosts);
    expect(['127.0.0.1.example.com', 'localhost.evil', '10.0.0.1', 'x127.0.0.1'].some(isLoopback)).toBe(false);
  });

  it('reads both forms of Retry-After', () => {
    expect(retryAfter('3')).toBe(3000);
    expect(retryAfter(new Date(0).toUTCString())).toBe(0);
    expect(retryAfter('soon')).toBeUndefined();
  });
});
