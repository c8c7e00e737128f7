import { describe, expect, it } from 'vitest';
import { encode } from '#common/wire/codec.ts';
import { runtimeOptions } from '../../../apps/task-shim/options.ts';

describe('runtime options of Create', () => {
  it("have runc and containerd's folder as defaults", () => {
    expect(runtimeOptions(null, 'k8s.io')).toEqual({
      runtime: { binary: 'runc', root: '/run/containerd/runc/k8s.io', systemdCgroup: false, criu: 'criu' },
      flags: { noPivotRoot: false, noNewKeyring: false },
      owner: { uid: 0, gid: 0 },
      criuWorkPath: '',
    });
  });

  it('are taken with or without a host in the type URL', () => {
    const value = encode('containerd.runc.v1.Options', { binaryName: 'crun', root: '/r', systemdCgroup: true });
    for (const type_url of ['containerd.runc.v1.Options', 'type.googleapis.com/containerd.runc.v1.Options']) {
      expect(runtimeOptions({ type_url, value }, 'n').runtime).toEqual({
        binary: 'crun',
        root: '/r/n',
        systemdCgroup: true,
        criu: 'criu',
      });
    }
  });

  it('of another type are refused by name', () => {
    expect(() => runtimeOptions({ type_url: 'some.Options', value: Buffer.alloc(0) }, 'n')).toThrow('some.Options');
  });
});
