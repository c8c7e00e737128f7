import { describe, expect, test } from 'vitest';
import { sha256 } from '#common/digest.ts';
import { ImageCache } from '../../../apps/cri-shim/images/image-cache.ts';
import { namesOf, pullName, sortNames } from '../../../apps/cri-shim/images/image-names.ts';
import { chainId, type ImageFacts } from '../../../apps/cri-shim/images/image-reader.ts';
import { isPauseReference } from '../../../apps/cri-shim/images/pause-reference.ts';
import { authAnswer } from '../../../apps/cri-shim/images/registry-auth.ts';
import { SharedCalls } from '../../../apps/cri-shim/images/shared-calls.ts';

const digest = (of: string) => sha256(of);

describe('the name an image is pulled under', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['registry.k8s.io/pause:3.10.1', 'registry.k8s.io/pause:3.10.1'],
    [`busybox:1@${digest('x')}`, `docker.io/library/busybox@${digest('x')}`],
  ])('of %s', (reference, name) => {
    const pulled = pullName(reference);
    expect(namesOf(pulled, digest('id'), digest('x'))).toContain(name);
  });

  test('a pull by digest gives no tag', () => {
    const names = namesOf(pullName(`a.example/b@${digest('x')}`), digest('id'), digest('x'));
    expect(names).toEqual([digest('id'), `a.example/b@${digest('x')}`]);
  });
});

test('Kubernetes’ pause image is known by its name, whatever its registry', () => {
  const host = 'example.com:5000/team';
  for (const name of ['pause:3.9', 'registry.k8s.io/pause:3.10.1', `${host}/pause:3.6`]) {
    expect([name, isPauseReference(name)]).toEqual([name, true]);
  }
  const others = ['pause', 'pause:latest', 'pause:13.9', 'pause:3.9-dev', `${host}/my-pause:3.9`, 'pause/app:3.9'];
  for (const name of [...others, `pause:3.9@${digest('x')}`])
    expect([name, isPauseReference(name)]).toEqual([name, false]);
});

test('names are sorted into tags and digests; ids and foreign names are neither', () => {
  const names = ['docker.io/library/b:2', 'docker.io/library/a:1', `docker.io/library/a@${digest('x')}`];
  expect(sortNames([...names, digest('id'), 'NOT a name'])).toEqual({
    repoTags: ['docker.io/library/a:1', 'docker.io/library/b:2'],
    repoDigests: [`docker.io/library/a@${digest('x')}`],
  });
});

test('the chain id is that of the image specification', () => {
  const [a, b, c] = [digest('a'), digest('b'), digest('c')];
  expect(chainId([])).toBe('');
  expect(chainId([a])).toBe(a);
  expect(chainId([a, b, c])).toBe(digest(`${digest(`${a} ${b}`)} ${c}`));
});

describe('credentials', () => {
  const none = { username: '', password: '', auth: '', serverAddress: '', identityToken: '', registryToken: '' };
  const login = { ...none, username: 'u', password: 'p' };
  const answer = { authType: 'CREDENTIALS', username: 'u', secret: 'p' };

  test('are for the registry of the image when they name no server', () => {
    expect(authAnswer(login, 'r.example', 'r.example')).toEqual(answer);
    expect(authAnswer(login, 'mirror.example', 'r.example')).toEqual({ authType: 'NONE' });
    expect(authAnswer(undefined, 'r.example', 'r.example')).toEqual({ authType: 'NONE' });
  });

  test.each([
    ['https://r.example:5000/v1/', 'r.example:5000', true],
    ['R.example', 'r.example', true],
    ['r.example', 'r.example:5000', false],
    ['r.example.evil', 'r.example', false],
    ['https://index.docker.io/v1/', 'registry-1.docker.io', true],
    ['https://index.docker.io/v1/', 'r.example', false],
  ])('for %s go to %s: %j', (serverAddress, host, sent) => {
    expect(authAnswer({ ...login, serverAddress }, host, 'r.example').authType).toBe(sent ? 'CREDENTIALS' : 'NONE');
  });

  test('come in four forms', () => {
    const ask = (fields: Partial<typeof none>) => authAnswer({ ...none, ...fields }, 'r.example', 'r.example');
    expect(ask({ auth: btoa('u:p:with:colons\0\0') })).toEqual({ ...answer, secret: 'p:with:colons' });
    expect(ask({ identityToken: 't' })).toMatchObject({ authType: 'REFRESH', secret: 't' });
    expect(ask({ registryToken: 't' })).toEqual({ authType: 'HEADER', secret: 'Bearer t' });
    expect(ask({})).toEqual({ authType: 'NONE' });
  });

  test('that cannot be read are refused without being shown', () => {
    const refusal = () => authAnswer({ ...none, auth: btoa('hidden') }, 'r.example', 'r.example');
    expect(refusal).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(refusal).not.toThrow(/hidden|aGlkZGVu/);
  });
});

describe('the cache of images', () => {
  const facts = (id: string, user = ''): ImageFacts => ({
    id: digest(id),
    chainId: '',
    config: { config: { User: user } },
    layers: [],
    diffIds: [],
    blobs: new Map([[digest(id), 7]]),
  });
  const record = (name: string, target: string, labels = {}) => ({
    name,
    labels,
    target: { mediaType: '', digest: digest(target), size: 1 },
  });

  test('a name that moves leaves the image it stood for, which is forgotten with its last name', () => {
    const cache = new ImageCache();
    cache.set(record('docker.io/library/a:1', 'm1'), facts('i1'));
    cache.set(record('docker.io/library/a:1', 'm2'), facts('i2'));
    expect(cache.list().map(({ id }) => id)).toEqual([digest('i2')]);
    cache.delete('docker.io/library/a:1');
    expect(cache.list()).toEqual([]);
  });

  test('an image is pinned as long as one of its names is', () => {
    const cache = new ImageCache();
    const pinned = { 'io.cri-containerd.pinned': 'pinned' };
    cache.set(record('docker.io/library/a:1', 'm'), facts('i'));
    cache.set(record('docker.io/library/b:1', 'm', pinned), facts('i'));
    expect(cache.find('a:1')?.pinned).toBe(true);
    cache.delete('docker.io/library/b:1');
    expect(cache.find('a:1')?.pinned).toBe(false);
  });

  test('the beginning of an id names an image only if it is the only one', () => {
    const cache = new ImageCache();
    cache.set(record('docker.io/library/a:1', 'm1'), { ...facts('i'), id: `sha256:abcd1${'0'.repeat(59)}` });
    cache.set(record('docker.io/library/b:1', 'm2'), { ...facts('i'), id: `sha256:abcd2${'0'.repeat(59)}` });
    expect(cache.find('abcd')).toBeUndefined();
    expect(cache.find('abcd2')?.repoTags).toEqual(['docker.io/library/b:1']);
    expect(cache.find('sha256:abcd1')?.repoTags).toEqual(['docker.io/library/a:1']);
    expect(cache.find('f'.repeat(64))).toBeUndefined();
    expect(() => cache.find('a b')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  test.each([
    ['', undefined, ''],
    ['app', undefined, 'app'],
    ['app:group', undefined, 'app'],
    ['0', 0n, ''],
    ['1000:1000', 1000n, ''],
    ['99999999999', undefined, '99999999999'],
  ])('the user %j of an image is uid %s or name %j', (user, uid, username) => {
    const cache = new ImageCache();
    cache.set(record('docker.io/library/a:1', 'm'), facts('i', user));
    expect(cache.find('a:1')?.uid).toBe(uid);
    expect(cache.find('a:1')?.username).toBe(username);
  });
});

describe('calls for the same thing at the same time', () => {
  test('are one call, and a later one is another', async () => {
    const calls = new SharedCalls<number>();
    let runs = 0;
    const run = () => calls.run('key', async () => ++runs);
    expect(await Promise.all([run(), run(), calls.run('other', async () => -1)])).toEqual([1, 1, -1]);
    expect(await run()).toBe(2);
  });

  test('fail together, and the failure is not kept', async () => {
    const calls = new SharedCalls<number>();
    const fail = () => calls.run('key', () => Promise.reject(new Error('no')));
    await expect(Promise.allSettled([fail(), fail()])).resolves.toMatchObject([
      { status: 'rejected' },
      { status: 'rejected' },
    ]);
    expect(await calls.run('key', async () => 1)).toBe(1);
  });

  test('are aborted when the last caller has left, not before', async () => {
    const calls = new SharedCalls<number>();
    const [first, second] = [new AbortController(), new AbortController()];
    let inner: AbortSignal | undefined;
    const start = (signal: AbortSignal) => {
      inner = signal;
      return new Promise<number>(() => undefined);
    };
    const results = Promise.allSettled([calls.run('key', start, first.signal), calls.run('key', start, second.signal)]);
    first.abort();
    await new Promise((resolve) => setImmediate(resolve));
    expect(inner?.aborted).toBe(false);
    second.abort();
    await results;
    expect(inner?.aborted).toBe(true);
  });
});
