import { describe, expect, test } from 'vitest';
import { isDigest, parseDigest, sha256 } from '#common/digest.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import { validateLabel } from '#common/labels.ts';
import { familiarReference, formatReference, normalizeReference, parseReference } from '#common/reference.ts';
import { version } from '#common/version.ts';
import manifest from '../../../package.json' with { type: 'json' };

const hex = 'a'.repeat(64);

describe('an identifier', () => {
  test.each(['a', 'A1', 'web-0', 'a.b_c-d', 'x'.repeat(76)])('may be %s', (id) => {
    expect(validateIdentifier(id)).toBe(id);
  });

  test.each(['', '-a', 'a-', 'a--b', 'a/b', '..', 'a b', 'x'.repeat(77), 'é'])('may not be "%s"', (id) => {
    expect(() => validateIdentifier(id, 'container id')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

test('a label may take 4096 bytes with its key, and no more', () => {
  expect(() => validateLabel('k', 'v'.repeat(4095))).not.toThrow();
  expect(() => validateLabel('k', 'v'.repeat(4096))).toThrow(/label "k"/);
});

describe('a digest', () => {
  test('has an algorithm and as many hex digits as that gives', () => {
    expect(parseDigest(`sha256:${hex}`)).toEqual({ algorithm: 'sha256', hex });
    expect(isDigest(`sha512:${hex}${hex}`)).toBe(true);
  });

  test.each(['', hex, 'sha256:', 'sha256:abc', `md5:${hex}`, `sha256:${hex.toUpperCase()}`, `sha256:../${hex}`])(
    'is never %s',
    (text) => {
      expect(isDigest(text)).toBe(false);
      expect(() => parseDigest(text)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    },
  );

  test('of the empty content is the well-known one', () => {
    expect(sha256('')).toBe('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  });
});

describe('an image reference', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
    ['library/busybox:1', 'docker.io/library/busybox:1', 'busybox:1'],
    ['user/app', 'docker.io/user/app:latest', 'user/app:latest'],
    ['index.docker.io/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
    ['localhost/a/b:t', 'localhost/a/b:t', 'localhost/a/b:t'],
    ['localhost:5000/a', 'localhost:5000/a:latest', 'localhost:5000/a:latest'],
    ['registry.k8s.io/pause:3.10.1', 'registry.k8s.io/pause:3.10.1', 'registry.k8s.io/pause:3.10.1'],
    ['[::1]:5000/a', '[::1]:5000/a:latest', '[::1]:5000/a:latest'],
    ['docker.io/a__b/c.d-e--f_g:T.1-x_', 'docker.io/a__b/c.d-e--f_g:T.1-x_', 'a__b/c.d-e--f_g:T.1-x_'],
    ['Host/a', 'Host/a:latest', 'Host/a:latest'],
    [`r.io/a@sha512:${hex}${hex}`, `r.io/a@sha512:${hex}${hex}`, `r.io/a@sha512:${hex}${hex}`],
    [`busybox@sha256:${hex}`, `docker.io/library/busybox@sha256:${hex}`, `busybox@sha256:${hex}`],
    [`r.io/a:t@sha256:${hex}`, `r.io/a:t@sha256:${hex}`, `r.io/a:t@sha256:${hex}`],
  ])('%s means %s', (text, canonical, familiar) => {
    expect(normalizeReference(text)).toBe(canonical);
    expect(familiarReference(parseReference(canonical))).toBe(familiar);
  });

  test('keeps its absence of a tag unless asked', () => {
    expect(formatReference(parseReference('busybox'))).toBe('docker.io/library/busybox');
  });

  test.each([
    ['', 'empty'],
    ['Busybox', 'lower case'],
    ['a//b', 'no valid repository'],
    ['a/b..c', 'no valid repository'],
    ['a/b___c', 'no valid repository'],
    ['a/-b', 'no valid repository'],
    ['r.io:port/a', 'no valid registry host'],
    ['r.io/a:.t', 'no valid tag'],
    ['-host.io/a', 'no valid registry host'],
    ['busybox:', 'no valid tag'],
    ['busybox:a b', 'no valid tag'],
    [`busybox:${'t'.repeat(129)}`, 'no valid tag'],
    ['busybox@sha256:abc', 'hex digits'],
    ['r.io/', 'no repository'],
    [hex, '64-digit id'],
    [`r.io/${'a'.repeat(255)}`, 'longer than'],
    ['http://r.io/a', 'no valid'],
  ])('may not be "%s"', (text, why) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(why) }),
    );
  });
});

test("the version is package.json's", () => {
  expect(version).toBe(manifest.version);
});
