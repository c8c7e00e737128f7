import { expect, test } from 'vitest';
import { advisoryOf } from '../../../apps/cri-shim/runtime-advisories.ts';

const older = ['CVE-2024-21626', 'CVE-2025-31133'];

test.each([
  ['1.1.5', older],
  ['1.0.0-rc95', older],
  ['1.1.12', older.slice(1)],
  ['1.2.7', older.slice(1)],
  ['1.2.8', []],
  ['1.3.2', older.slice(1)],
  ['1.3.3', []],
  ['1.4.0-rc.2', older.slice(1)],
  ['1.4.0-rc.3', []],
  ['1.4.0', []],
  ['1.10.0', []],
  ['2.0.1', []],
])('runc %s lacks the fixes of %j', (version, cves) => {
  const advisory = advisoryOf(`runc version ${version}+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev`);
  expect(older.filter((cve) => advisory?.includes(cve))).toEqual(cves);
  if (advisory !== undefined) expect(advisory).toContain(`runc ${version} `);
});

test('of other runtimes nothing is said', () => {
  expect(advisoryOf('crun version 1.8.1\n')).toBeUndefined();
  expect(advisoryOf('')).toBeUndefined();
});
