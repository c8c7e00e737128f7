import { describe, expect, it } from 'vitest';
import { encode } from '#common/wire/codec.ts';
import { parseBootstrap, socketPathOf } from '../../../apps/core/tasks/bootstrap.ts';

const address = 'unix:///run/containerd/s/0123';

describe("a shim's answer to start", () => {
  it.each([
    ['a bare address, as before containerd 2.0', address, 2],
    ['a bare address with a newline', `${address}\n`, 2],
    ['JSON with version 2', JSON.stringify({ version: 2, address, protocol: 'ttrpc' }), 2],
    ['JSON with version 3', JSON.stringify({ version: 3, address, protocol: 'ttrpc' }), 3],
    ['JSON without a protocol', JSON.stringify({ version: 3, address }), 3],
  ])('may be %s', (_, text, version) => {
    expect(parseBootstrap(Buffer.from(text))).toEqual({ version, address, protocol: 'ttrpc' });
  });

  it('may be a protobuf BootstrapResult', () => {
    const answer = encode('containerd.runtime.bootstrap.v1.BootstrapResult', {
      version: 3,
      address,
      protocol: 'ttrpc',
    });
    expect(parseBootstrap(answer)).toEqual({ version: 3, address, protocol: 'ttrpc' });
    const bare = encode('containerd.runtime.bootstrap.v1.BootstrapResult', { address });
    expect(parseBootstrap(bare)).toEqual({ version: 2, address, protocol: 'ttrpc' });
  });

  it.each([
    ['a version to come', JSON.stringify({ version: 4, address, protocol: 'ttrpc' }), 'unimplemented'],
    ['another protocol', JSON.stringify({ version: 3, address, protocol: 'grpc' }), 'unimplemented'],
    ['another transport', 'vsock://3:1024', 'unimplemented'],
    ['a warning', 'level=warning msg="cgroup is odd"', 'unimplemented'],
    ['nothing', '', 'internal'],
  ])('is refused when it is %s', (_, text, code) => {
    expect(() => parseBootstrap(Buffer.from(text))).toThrow(expect.objectContaining({ code }));
  });

  it('names a socket by its path', () => {
    expect(socketPathOf(address)).toBe('/run/containerd/s/0123');
    expect(socketPathOf('/run/x')).toBe('/run/x');
  });
});
