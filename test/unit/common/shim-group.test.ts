import { describe, expect, it } from 'vitest';
import { shimGroupOf } from '#common/shim-group.ts';

describe('the group of a container', () => {
  it.each([
    [{ 'io.kubernetes.cri.sandbox-id': 'pod' }, 'pod'],
    [{ 'io.kubernetes.cri.sandbox-id': 'pod', 'io.containerd.runc.v2.group': 'own' }, 'own'],
    [{ 'io.containerd.runc.v2.group': '' }, 'web'],
    [{ other: 'io.kubernetes.cri.sandbox-id' }, 'web'],
    [undefined, 'web'],
  ])('with annotations %j is %s', (annotations, group) => {
    expect(shimGroupOf('web', JSON.stringify({ ociVersion: '1.0.2', annotations }))).toBe(group);
  });
});
