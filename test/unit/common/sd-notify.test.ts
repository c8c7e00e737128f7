import { expect, test } from 'vitest';
import { notifyServiceManager } from '#common/sd-notify.ts';

test('without a service manager nothing is sent', () => {
  expect(() => notifyServiceManager('READY=1', {})).not.toThrow();
});

test('a service manager that cannot be reached is named', () => {
  expect(() => notifyServiceManager('READY=1', { NOTIFY_SOCKET: '/nonexistent/notify' })).toThrow(
    expect.objectContaining({ name: 'BerthError', message: expect.stringContaining('/nonexistent/notify') }),
  );
});
