import { expect, test } from 'vitest';
import { metricsAddress } from '#common/metrics/metrics-address.ts';

test.for([
  ['', undefined],
  ['/run/berth/metrics.sock', { path: '/run/berth/metrics.sock' }],
  ['127.0.0.1:1338', { host: '127.0.0.1', port: 1338 }],
  ['127.8.9.1:0', { host: '127.8.9.1', port: 0 }],
  ['[::1]:1338', { host: '::1', port: 1338 }],
] as const)('"%s" is a place for metrics', ([text, address]) => {
  expect(metricsAddress(text)).toEqual(address);
});

test.for(['0.0.0.0:1338', '[::]:1338', '192.168.1.1:1338', '[fe80::1]:1338'])('"%s" is refused', (text) => {
  expect(() => metricsAddress(text)).toThrow(/metrics\.address ".*" is no loopback address/);
});

test.for(['1338', ':1338', 'localhost', 'run/metrics.sock', '127.0.0.1', '127.0.0.1:99999', '::1:1338'])(
  '"%s" is no address',
  (text) => {
    expect(() => metricsAddress(text)).toThrow(/metrics\.address ".*": want the absolute path/);
  },
);
