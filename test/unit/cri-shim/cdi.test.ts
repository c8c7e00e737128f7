import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { CdiInjector } from '../../../apps/cri-shim/cdi/injector.ts';
import { requestedCdiDevices } from '../../../apps/cri-shim/cdi/requested-devices.ts';
import { SpecDirectories } from '../../../apps/cri-shim/cdi/spec-directories.ts';
import { scratchDir } from '../../support/scratch.ts';

let dir: string;
let directories: SpecDirectories;

beforeEach(() => {
  dir = scratchDir();
  for (const name of ['static', 'dynamic']) mkdirSync(join(dir, name));
  directories = new SpecDirectories([join(dir, 'static'), join(dir, 'dynamic'), join(dir, 'missing')]);
});
afterEach(() => rmSync(dir, { recursive: true }));

const write = (path: string, content: object | string) =>
  writeFileSync(join(dir, path), typeof content === 'string' ? content : JSON.stringify(content));
const spec = (fields: object = {}) => ({
  cdiVersion: '1.0.0',
  kind: 'vendor.com/gpu',
  devices: [{ name: 'one', containerEdits: { env: ['DEVICE=one'] } }],
  ...fields,
});
const device = (containerEdits: object, name = 'one') => ({ devices: [{ name, containerEdits }] });

async function inject(...names: string[]): Promise<RuntimeSpec> {
  const built: RuntimeSpec = {
    ociVersion: '1.0.2',
    process: { user: { uid: 1000, gid: 100, additionalGids: [100] }, cwd: '/', env: ['PATH=/bin', 'DEVICE=none'] },
    mounts: [
      { destination: '/etc/hosts', source: '/pod/hosts' },
      { destination: '/opt', source: '/old' },
    ],
    linux: { devices: [{ path: '/dev/a', type: 'c', major: 1, minor: 1 }] },
  };
  await new CdiInjector(directories, built).inject(names);
  return built;
}

describe('the names of CDI devices', () => {
  const asked = (names: string[], annotations: Record<string, string> = {}) =>
    requestedCdiDevices({ CDIDevices: names.map((name) => ({ name })), annotations });

  it('come from the field and from annotations, each once', () => {
    expect(asked(['v/c=1'], { 'cdi.k8s.io/b': 'v/c=3', 'cdi.k8s.io/a': 'v/c=1,v/c=2', other: 'x' })).toEqual([
      'v/c=1',
      'v/c=2',
      'v/c=3',
    ]);
  });

  it.each(['', 'one', 'v/c', 'v/c=', '/c=1', 'v/c=-1', 'v/c=1,', '1v/c=1', 'v/c/d=1'])(
    'in an annotation must be whole: "%s"',
    (value) => {
      expect(() => asked([], { 'cdi.k8s.io/x': value })).toThrow(
        expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('cdi.k8s.io/x') }),
      );
    },
  );
});

describe('a CDI device', () => {
  it('brings environment, mounts, hooks, groups and RDT class', async () => {
    const mount = { hostPath: '/lib/x', containerPath: '/opt', options: ['rbind', 'ro'] };
    const edits = {
      env: ['DEVICE=one', 'MORE=x=y'],
      mounts: [{ ...mount, containerPath: '/opt/deep' }, mount],
      hooks: [{ hookName: 'createContainer', path: '/bin/hook', args: ['hook', '-v'], timeout: 3 }],
      additionalGids: [0, 44, 100],
      intelRdt: { closID: 'gold', l3CacheSchema: 'L3:0=f' },
    };
    write('static/gpu.json', spec(device(edits)));
    const { process, mounts, hooks, linux } = await inject('vendor.com/gpu=one');
    expect(process?.env).toEqual(['PATH=/bin', 'DEVICE=one', 'MORE=x=y']);
    expect(process?.user.additionalGids).toEqual([100, 44]);
    expect(mounts).toEqual([
      { destination: '/opt', source: '/lib/x', options: ['rbind', 'ro'] },
      { destination: '/etc/hosts', source: '/pod/hosts' },
      { destination: '/opt/deep', source: '/lib/x', options: ['rbind', 'ro'] },
    ]);
    expect(hooks).toEqual({ createContainer: [{ path: '/bin/hook', args: ['hook', '-v'], timeout: 3 }] });
    expect(linux?.intelRdt).toEqual({ closID: 'gold', l3CacheSchema: 'L3:0=f' });
  });

  it('brings device nodes, whose numbers, type, mode and owner are looked up', async () => {
    const { mode } = statSync('/dev/null');
    const nodes = [
      { path: '/dev/a', hostPath: '/dev/null' },
      { path: '/dev/zero', permissions: 'r', fileMode: 0o600, uid: 0, gid: 7 },
      { path: '/dev/full', permissions: 'none' },
      { path: '/dev/none/such', type: 'b', major: 8, minor: 3 },
    ];
    write('static/gpu.json', spec(device({ deviceNodes: nodes })));
    const { linux } = await inject('vendor.com/gpu=one');
    const owner = { uid: 1000, gid: 100 };
    expect(linux?.devices).toEqual([
      { path: '/dev/a', type: 'c', major: 1, minor: 3, fileMode: mode & 0o7777, ...owner },
      { path: '/dev/zero', type: 'c', major: 1, minor: 5, fileMode: 0o600, uid: 0, gid: 7 },
      { path: '/dev/full', type: 'c', major: 1, minor: 7, fileMode: expect.any(Number), ...owner },
      { path: '/dev/none/such', type: 'b', major: 8, minor: 3, ...owner },
    ]);
    expect(linux?.resources?.devices?.map(({ access }) => access)).toEqual(['rwm', 'r', '', 'rwm']);
  });

  it.each([
    [{ path: '/dev/none/such' }, 'not a device'],
    [{ path: '/dev/x', hostPath: '/etc/passwd' }, 'not a device'],
    [{ path: '/dev/null', type: 'b' }, 'is of type c, not b'],
  ])('with the node %j is refused', async (node, word) => {
    write('static/gpu.json', spec(device({ deviceNodes: [node] })));
    await expect(inject('vendor.com/gpu=one')).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(word),
    });
  });

  it('has its files mapped in a pod with users of its own', async () => {
    const mounts = [{ hostPath: '/a', containerPath: '/a', options: ['bind'] }];
    write('static/gpu.json', spec(device({ mounts })));
    const mapping = [{ containerID: 0, hostID: 70_000, size: 65_536 }];
    const mapped: RuntimeSpec = { ociVersion: '1.0.2', linux: { uidMappings: mapping, gidMappings: mapping } };
    await new CdiInjector(directories, mapped).inject(['vendor.com/gpu=one']);
    expect(mapped.mounts?.[0]).toMatchObject({ uidMappings: mapping, gidMappings: mapping });
  });
});

describe('CDI specifications', () => {
  it('apply what their devices share once, however many are asked for, and by whom', async () => {
    const hook = { hookName: 'prestart', path: '/bin/shared' };
    const devices = ['one', 'two'].map((name) => ({ name, containerEdits: { env: [`${name}=1`] } }));
    write('static/gpu.json', spec({ devices, containerEdits: { hooks: [hook] } }));
    const built: RuntimeSpec = { ociVersion: '1.0.2', process: { user: { uid: 0, gid: 0 }, cwd: '/' } };
    const injector = new CdiInjector(directories, built);
    await injector.inject(['vendor.com/gpu=one']);
    await injector.inject(['vendor.com/gpu=two', 'vendor.com/gpu=one']);
    expect(built.hooks?.prestart).toHaveLength(1);
    expect(built.process?.env).toEqual(['one=1', 'two=1']);
  });

  it('of a later directory count before those of an earlier one; two of one directory are a conflict', async () => {
    write('static/gpu.json', spec());
    write('dynamic/gpu.yaml', stringify(spec(device({ env: ['DEVICE=dynamic'] }))));
    expect((await inject('vendor.com/gpu=one')).process?.env).toContain('DEVICE=dynamic');
    write('dynamic/again.json', spec());
    await expect(inject('vendor.com/gpu=one')).rejects.toThrow(
      `defined by both ${dir}/dynamic/again.json and ${dir}/dynamic/gpu.yaml`,
    );
  });

  it('are read again when they have changed', async () => {
    await expect(inject('vendor.com/gpu=one')).rejects.toThrow('is in none of');
    write('static/gpu.json', spec());
    await inject('vendor.com/gpu=one');
    write('static/gpu.json', spec(device({ env: ['DEVICE=changed'] })));
    expect((await inject('vendor.com/gpu=one')).process?.env).toContain('DEVICE=changed');
    rmSync(join(dir, 'static/gpu.json'));
    await expect(inject('vendor.com/gpu=one')).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('in YAML have octal modes, and texts that look like numbers', async () => {
    const text = [
      'cdiVersion: "0.5.0"',
      'kind: vendor.com/gpu',
      'devices:',
      '- name: 0',
      '  containerEdits:',
      '    deviceNodes:',
      '    - path: /dev/null',
      '      fileMode: 0660',
    ];
    write('static/gpu.yaml', text.join('\n'));
    expect((await inject('vendor.com/gpu=0')).linux?.devices).toContainEqual(
      expect.objectContaining({ path: '/dev/null', fileMode: 0o660 }),
    );
  });

  it.each([
    [{ cdiVersion: '9.0.0' }, 'cdiVersion'],
    [{ kind: 'gpu' }, 'kind'],
    [{ devices: [] }, 'devices'],
    [device({}), 'changes nothing'],
    [device({ env: ['X=1'] }, 'a b'), 'devices.0.name'],
    [device({ env: ['X'] }), 'devices.0.containerEdits.env.0'],
    [device({ mounts: [{ hostPath: '/a' }] }), 'devices.0.containerEdits.mounts.0.containerPath'],
    [device({ hooks: [{ hookName: 'never', path: '/a' }] }), 'hookName'],
    [device({ deviceNodes: [{ path: '/a', permissions: 'x' }] }), 'permissions'],
    [device({ intelRdt: { closID: '..' } }), 'closID'],
    [{ surplus: 1 }, 'surplus'],
    [{ devices: [...spec().devices, ...spec().devices] }, 'there twice'],
    // Each needs the version that brought it.
    [{ cdiVersion: '0.3.0', ...device({ mounts: [{ hostPath: '/a', containerPath: '/a', type: 'bind' }] }) }, '0.4.0'],
    [{ cdiVersion: '0.4.0', ...device({ deviceNodes: [{ path: '/a', hostPath: '/b' }] }) }, '0.5.0'],
    [{ cdiVersion: '0.5.0', annotations: { a: 'b' } }, '0.6.0'],
    [{ cdiVersion: '0.6.0', ...device({ additionalGids: [1] }) }, '0.7.0'],
    [device({ netDevices: [{ hostInterfaceName: 'eth1', name: 'net1' }] }), '1.1.0'],
  ])('with %j are refused, and name the place', async (fields, place) => {
    write('static/gpu.json', spec(fields));
    await expect(inject('vendor.com/gpu=one')).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(new RegExp(`vendor.com/gpu=one is in none of .*static/gpu.json: .*${place}`)),
    });
  });

  it('that are broken hinder no other', async () => {
    write('static/broken.json', '{');
    write('static/broken.yaml', 'a: [');
    mkdirSync(join(dir, 'static/directory.json'));
    write('static/gpu.json', spec());
    await inject('vendor.com/gpu=one');
    await expect(inject('vendor.com/gpu=two')).rejects.toThrow(/broken\.json: .*broken\.yaml: /);
  });
});
