import { describe, expect, it } from 'vitest';
import { decode, encode } from '#common/wire/codec.ts';
import { parseCommandLine } from '../../../apps/task-shim/command-line.ts';
import { bootstrapResult, parseStartRequest } from '../../../apps/task-shim/start-request.ts';

const line = parseCommandLine(['-namespace', 'k8s.io', '-id', 'web', '-address', '/run/d.sock', 'start']);
const options = { type_url: 'containerd.runc.v1.Options', value: Buffer.from([1, 2, 3]) };
const bootstrap = 'containerd.runtime.bootstrap.v1.BootstrapParams';

describe('what a daemon says to `start`', () => {
  it('are bootstrap parameters since containerd 2.3', () => {
    const params = encode(bootstrap, {
      instanceId: 'web',
      namespace: 'k8s.io',
      logLevel: 'LOG_LEVEL_DEBUG',
      containerdTtrpcAddress: '/run/d.sock.ttrpc',
      extensions: [{ value: options }],
      socketDir: '/run/s',
    });
    expect(parseStartRequest(params, line)).toEqual({
      speaksBootstrap: true,
      options,
      ttrpcAddress: '/run/d.sock.ttrpc',
      socketFolder: '/run/s',
      debug: true,
    });
    const bare = encode(bootstrap, { instanceId: 'web', namespace: 'k8s.io' });
    expect(parseStartRequest(bare, line)).toMatchObject({ speaksBootstrap: true, options: null, debug: false });
  });

  it('are runtime options before, which may look alike', () => {
    const any = parseStartRequest(encode('google.protobuf.Any', options), line);
    expect(any).toMatchObject({ speaksBootstrap: false, options, socketFolder: '' });
    const other = encode(bootstrap, { instanceId: 'another', namespace: 'k8s.io' });
    expect(parseStartRequest(other, line).speaksBootstrap).toBe(false);
  });

  it('is answered in the same protocol', () => {
    expect(decode('containerd.runtime.bootstrap.v1.BootstrapResult', bootstrapResult('unix:///run/s/1'))).toMatchObject(
      {
        version: 3,
        address: 'unix:///run/s/1',
        protocol: 'ttrpc',
      },
    );
  });
});
