import { expect, test } from 'vitest';
import { unsynced } from '../../../apps/cri-shim/core-client/unsynced.ts';

const overlay = {
  type: 'overlay',
  source: 'overlay',
  target: '',
  options: ['workdir=/w', 'upperdir=/u', 'lowerdir=/l'],
};

test('a root file system that is written to is mounted volatile', () => {
  expect(unsynced([overlay], '5.10.0-8-amd64')).toEqual([{ ...overlay, options: [...overlay.options, 'volatile'] }]);
  expect(unsynced([overlay], '6.1.0')).toEqual([{ ...overlay, options: [...overlay.options, 'volatile'] }]);
});

test('one without files of its own, of another kind, or on a kernel that knows no such option stays as it is', () => {
  const view = { ...overlay, options: ['lowerdir=/l:/m'] };
  const bind = { ...overlay, type: 'bind', options: ['rbind', 'rw'] };
  expect(unsynced([view, bind], '6.1.0')).toEqual([view, bind]);
  expect(unsynced([overlay], '5.9.16')).toEqual([overlay]);
  expect(unsynced([overlay], '4.18.0-553.el8')).toEqual([overlay]);
});
