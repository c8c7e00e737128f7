import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseContext } from '../../../apps/cri-shim/selinux/context.ts';
import { labelled } from '../../../apps/cri-shim/selinux/labelled.ts';
import { containerLabels, podLabels, type SelinuxLabels } from '../../../apps/cri-shim/selinux/labels.ts';
import { relabel } from '../../../apps/cri-shim/selinux/relabel.ts';
import { Selinux } from '../../../apps/cri-shim/selinux/selinux.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const contexts = {
  process: parseContext('system_u:system_r:container_t:s0'),
  file: parseContext('system_u:object_r:container_file_t:s0'),
};
const options = (fields: Partial<Record<'user' | 'role' | 'type' | 'level', string>>) => {
  return { user: '', role: '', type: '', level: '', ...fields };
};
const first = () => 0;

describe('the labels of a pod', () => {
  it('have two categories that no other pod has', () => {
    const taken: SelinuxLabels[] = [];
    for (let n = 0; n < 6; n += 1) taken.push(podLabels(contexts, null, taken, 4, first));
    expect(taken.map(({ mount }) => parseContext(mount).level)).toEqual([
      's0:c0,c1',
      's0:c0,c2',
      's0:c1,c2',
      's0:c0,c3',
      's0:c1,c3',
      's0:c2,c3',
    ]);
    expect(taken[0]).toEqual({
      process: 'system_u:system_r:container_t:s0:c0,c1',
      mount: 'system_u:object_r:container_file_t:s0:c0,c1',
    });
    expect(() => podLabels(contexts, null, taken, 4, first)).toThrow(/category_range/);
    taken.splice(3, 1);
    expect(podLabels(contexts, null, taken, 4, () => 5).mount).toBe('system_u:object_r:container_file_t:s0:c0,c3');
  });

  it('name each pair of the usual number of categories once', () => {
    const pairs = (1_024 * 1_023) / 2;
    const at = (index: number) =>
      podLabels(contexts, null, [], 1_024, () => index)
        .mount.split(':')
        .slice(4)
        .join();
    expect([at(0), at(1), at(pairs - 1)]).toEqual(['c0,c1', 'c0,c2', 'c1022,c1023']);
    for (let index = 1; index < pairs; index += 997) expect(at(index)).toMatch(/^c\d+,c\d+$/);
  });

  it('are what the pod asks for, over the policy’s own', () => {
    const wanted = options({ user: 'staff_u', type: 'spc_t', level: 's0:c4,c5' });
    expect(podLabels(contexts, wanted, [], 1_024, first)).toEqual({
      process: 'staff_u:system_r:spc_t:s0:c4,c5',
      mount: 'system_u:object_r:container_file_t:s0:c4,c5',
    });
  });

  it('have no level where the policy has none', () => {
    const plain = { process: parseContext('u:r:t'), file: parseContext('u:o:f') };
    expect(podLabels(plain, null, [], 1_024, first)).toEqual({ process: 'u:r:t', mount: 'u:o:f' });
    expect(podLabels(plain, options({ level: 's0' }), [], 1_024, first)).toEqual({ process: 'u:r:t', mount: 'u:o:f' });
  });

  it.each([
    ['type', 'container_t,ro'],
    ['type', 'a"b'],
    ['user', 'a:b'],
    ['role', 'a b'],
    ['level', 's0:c1,c2"'],
    ['level', 'c1,c2'],
    ['level', 's0:c12345'],
  ])('are refused for %s %j', (part, value) => {
    expect(() => podLabels(contexts, options({ [part]: value }), [], 1_024, first)).toThrow(`selinux_options.${part}`);
  });
});

describe('the labels of a container', () => {
  const pod = podLabels(contexts, null, [], 1_024, () => 5);

  it('are its pod’s, or what it asks for with its pod’s level', () => {
    expect(containerLabels(contexts, null, pod)).toEqual(pod);
    expect(containerLabels(contexts, options({ type: 'container_init_t' }), pod)).toEqual({
      process: 'system_u:system_r:container_init_t:s0:c2,c3',
      mount: pod.mount,
    });
    expect(containerLabels(contexts, options({ level: 's0-s1:c0.c9' }), pod)).toEqual({
      process: 'system_u:system_r:container_t:s0-s1:c0.c9',
      mount: 'system_u:object_r:container_file_t:s0-s1:c0.c9',
    });
  });

  it('go to the mounts that can have them', () => {
    const mount = (type: string) => ({ type, source: 's', target: '', options: ['ro'] });
    expect(labelled([mount('overlay'), mount('bind')], pod.mount)).toEqual([
      { ...mount('overlay'), options: ['ro', 'context="system_u:object_r:container_file_t:s0:c2,c3"'] },
      mount('bind'),
    ]);
  });
});

describe('the node’s policy', () => {
  let root: string;
  beforeEach(() => {
    root = scratchDir();
  });
  afterEach(() => removeScratch(root));

  function write(path: string, text: string): void {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }

  it('is not asked on a kernel without SELinux', () => {
    expect(Selinux.ofHost(1_024, root)).toBeUndefined();
  });

  it('says what containers are, and is told to be lacking where it doesn’t', () => {
    write('sys/fs/selinux/policyvers', '33');
    write('etc/selinux/config', '# SELINUXTYPE=mls\nSELINUX=enforcing\nSELINUXTYPE=default\n');
    expect(() => Selinux.ofHost(1_024, root)).toThrow(/default\/contexts\/lxc_contexts names no context "process"/);
    const lines = ['process = "system_u:system_r:container_t:s0"', 'file = "system_u:object_r:container_file_t:s0"'];
    write('etc/selinux/default/contexts/lxc_contexts', `${lines.join('\n')}\nro_file = "a:b:c:s0"\n`);
    const labels = Selinux.ofHost(1_024, root)?.podLabels(null, []);
    expect(labels?.process).toMatch(/^system_u:system_r:container_t:s0:c\d+,c\d+$/);
    expect(labels?.mount).toMatch(/^system_u:object_r:container_file_t:s0:c\d+,c\d+$/);
  });
});

it('folders of the system keep their labels', async () => {
  await expect(relabel('/usr', 'a:b:c:s0')).rejects.toMatchObject({ code: 'invalid_argument' });
});
