import { describe, expect, it } from 'vitest';
import { runtimeEnvironment } from '../../../apps/task-shim/runc.ts';

describe('the environment of the OCI runtime', () => {
  it('has one processor for Go, whatever the daemon gave the shim', () => {
    expect(runtimeEnvironment({ PATH: '/bin', GOMAXPROCS: '4' })).toEqual(['PATH=/bin', 'GOMAXPROCS=1']);
    expect(runtimeEnvironment({ PATH: '/bin' })).toEqual(['PATH=/bin', 'GOMAXPROCS=1']);
  });

  it("is the shim's without what is only for the shim", () => {
    const env = {
      BERTH_NATIVE: '/n',
      BUN_X: '1',
      MIMALLOC_Y: '1',
      NOTIFY_SOCKET: '/s',
      LISTEN_FDS: '1',
      LISTEN_FDS_OF: 'x',
    };
    expect(runtimeEnvironment(env)).toEqual(['LISTEN_FDS_OF=x', 'GOMAXPROCS=1']);
  });
});
