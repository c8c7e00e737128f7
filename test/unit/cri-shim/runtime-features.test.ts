import { expect, test } from 'vitest';
import { featuresOfVersion, noFeatures, parseFeatures } from '../../../apps/cri-shim/runtime-features.ts';

test('an OCI runtime has the features that it tells of', () => {
  const runc14 = { linux: { netDevices: { enabled: true } } };
  expect(parseFeatures(JSON.stringify(runc14))).toEqual({ ...noFeatures, networkDevices: true });
  const runc12 = { mountOptions: ['ro', 'rro'], linux: { mountExtensions: { idmap: { enabled: true } } } };
  expect(parseFeatures(JSON.stringify(runc12))).toEqual({
    recursiveReadOnly: true,
    userNamespaces: true,
    networkDevices: false,
  });
  const runc11 = { mountOptions: ['ro', 'rro'], linux: {} };
  expect(parseFeatures(JSON.stringify(runc11))).toEqual({ ...noFeatures, recursiveReadOnly: true });
  expect(parseFeatures('null')).toEqual(noFeatures);
  expect(parseFeatures('unknown command "features"')).toBeUndefined();
});

test('a crun that can’t tell is known by its version', () => {
  expect(featuresOfVersion('crun version 1.8.1\ncommit: f8a')).toEqual({
    recursiveReadOnly: true,
    userNamespaces: true,
    networkDevices: false,
  });
  expect(featuresOfVersion('crun version 1.4.5\n')).toEqual(noFeatures);
  expect(featuresOfVersion('youki version 0.3.0\n')).toEqual(noFeatures);
});
