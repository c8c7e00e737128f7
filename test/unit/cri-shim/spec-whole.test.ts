import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ContainerConfig, PodConfig } from '../../../apps/cri-shim/cri-types.ts';
import { noFeatures } from '../../../apps/cri-shim/runtime-features.ts';
import { capabilityNames } from '../../../apps/cri-shim/spec/capabilities.ts';
import { type ContainerSpecRequest, containerSpec } from '../../../apps/cri-shim/spec/container-spec.ts';
import type { HostFacts } from '../../../apps/cri-shim/spec/host.ts';
import { imageProcess } from '../../../apps/cri-shim/spec/image-process.ts';
import { mountOf, parseMountInfo } from '../../../apps/cri-shim/spec/mountinfo.ts';
import { containerMounts } from '../../../apps/cri-shim/spec/mounts.ts';
import { sandboxSpec } from '../../../apps/cri-shim/spec/sandbox-spec.ts';
import { noResources } from '../../support/no-resources.ts';

const host: HostFacts = {
  systemd: false,
  unifiedCgroups: false,
  controllers: { swap: false, hugetlb: false, unified: false },
  capabilities: capabilityNames,
  limits: { nofileHard: 1000, oomScoreAdj: 0, mayRaise: false },
  seccomp: true,
  appArmor: undefined,
};
const image = { name: 'img', process: imageProcess({ config: { Entrypoint: ['/app'], WorkingDir: '/srv' } }) };
const support = { features: { ...noFeatures, recursiveReadOnly: true, userNamespaces: true } };
const user = { uid: 5, gid: 6, additionalGids: [6] };

function pod(fields: Partial<PodConfig> = {}): PodConfig {
  return {
    metadata: { name: 'p', uid: 'u', namespace: 'ns', attempt: 0 },
    hostname: 'pod-host',
    logDirectory: '/logs',
    dnsConfig: null,
    portMappings: [],
    labels: {},
    annotations: { 'run.oci.systemd.ExecStart': '/evil' },
    linux: null,
    windows: null,
    ...fields,
  };
}

type PodSecurity = NonNullable<NonNullable<PodConfig['linux']>['securityContext']>;

function podSecurity(fields: Partial<PodSecurity>): PodConfig['linux'] {
  const securityContext: PodSecurity = {
    namespaceOptions: null,
    selinuxOptions: null,
    runAsUser: null,
    runAsGroup: null,
    readonlyRootfs: false,
    supplementalGroups: [],
    supplementalGroupsPolicy: 'Merge',
    privileged: false,
    seccomp: null,
    apparmor: null,
    seccompProfilePath: '',
    ...fields,
  };
  return { cgroupParent: '/pods/p', securityContext, sysctls: {}, overhead: null, resources: null };
}

const namespaceOptions = { network: 'POD', pid: 'POD', ipc: 'POD', targetId: '', usernsOptions: null } as const;

type Security = NonNullable<NonNullable<ContainerConfig['linux']>['securityContext']>;

function container(security?: Partial<Security>, fields: Partial<ContainerConfig> = {}): ContainerConfig {
  const securityContext: Security | null =
    security === undefined
      ? null
      : {
          capabilities: null,
          privileged: false,
          namespaceOptions: null,
          selinuxOptions: null,
          runAsUser: null,
          runAsGroup: null,
          runAsUsername: '',
          readonlyRootfs: false,
          supplementalGroups: [],
          supplementalGroupsPolicy: 'Merge',
          noNewPrivs: false,
          maskedPaths: [],
          readonlyPaths: [],
          seccomp: null,
          apparmor: null,
          apparmorProfile: '',
          seccompProfilePath: '',
          ...security,
        };
  return {
    metadata: { name: 'c', attempt: 0 },
    image: null,
    command: [],
    args: ['-v'],
    workingDir: '',
    envs: [],
    mounts: [],
    devices: [],
    labels: {},
    annotations: {},
    logPath: '',
    stdin: false,
    stdinOnce: false,
    tty: false,
    linux: { resources: null, securityContext },
    windows: null,
    CDIDevices: [],
    stopSignal: 'RUNTIME_DEFAULT',
    ...fields,
  };
}

function build(config: ContainerConfig, request: Partial<ContainerSpecRequest> = {}, podConfig = pod()) {
  return containerSpec({
    id: 'id1',
    config,
    image,
    user,
    host,
    features: support.features,
    hostname: 'pod-host',
    sandbox: { id: 'sb1', config: podConfig, pid: 77, netnsPath: '/run/netns/sb1' },
    podMounts: [],
    ...request,
  });
}

/** A node with AppArmor that has these profiles; `loads` is what is loaded on top. */
function appArmor(...profiles: string[]) {
  const loads: string[] = [];
  const load = async (profile: string): Promise<void> => {
    loads.push(profile);
    profiles.push(/^profile (\S+)/m.exec(profile)?.[1] ?? '');
  };
  return { confining: { host: { ...host, appArmor: { profiles: () => profiles, load } } }, loads };
}

describe('the spec of a pod’s pause container', () => {
  const make = (config: PodConfig, facts = host) =>
    sandboxSpec({
      id: 'sb1',
      config,
      image: { reference: 'pause:1', process: imageProcess({ config: { Entrypoint: ['/pause'] } }) },
      user,
      host: facts,
      netnsPath: '/run/netns/sb1',
      shmPath: '/run/shm',
      resolvPath: '/var/resolv.conf',
    }).spec;

  it('holds the pod’s namespaces and nothing it doesn’t need', () => {
    const spec = make(pod());
    expect(spec).toMatchObject({
      ociVersion: '1.0.2',
      hostname: 'pod-host',
      process: { args: ['/pause'], capabilities: { bounding: [] }, noNewPrivileges: true, oomScoreAdj: 0 },
      root: { readonly: true },
      linux: {
        cgroupsPath: '/berth-sb1',
        namespaces: [
          { type: 'mount' },
          { type: 'pid' },
          { type: 'ipc' },
          { type: 'network', path: '/run/netns/sb1' },
          { type: 'uts' },
        ],
        sysctl: { 'net.ipv4.ip_unprivileged_port_start': '0' },
      },
    });
    expect(spec.process?.capabilities).not.toHaveProperty('inheritable');
    expect(spec.linux?.seccomp?.defaultAction).toBe('SCMP_ACT_ERRNO');
  });

  it('leaves out what it shares with the host, its name included', () => {
    const spec = make(
      pod({
        linux: podSecurity({ namespaceOptions: { ...namespaceOptions, network: 'NODE', pid: 'NODE', ipc: 'NODE' } }),
      }),
    );
    expect(spec.linux?.namespaces).toEqual([{ type: 'mount' }]);
    expect(spec.linux?.sysctl).toEqual({});
    expect(spec).not.toHaveProperty('hostname');
    expect(spec.mounts).toContainEqual(expect.objectContaining({ destination: '/dev/shm', source: '/dev/shm' }));
  });

  it('asks systemd for a slice', () => {
    const linux = podSecurity({});
    const sliced = pod({
      linux: linux === null ? null : { ...linux, cgroupParent: '/kubepods.slice/kubepods-x.slice' },
    });
    expect(make(sliced, { ...host, systemd: true }).linux?.cgroupsPath).toBe('kubepods-x.slice:cri-containerd:sb1');
  });

  it('says in annotations what it is, and passes none of the pod’s on', () => {
    expect(make(pod()).annotations).toEqual({
      'io.kubernetes.cri.container-type': 'sandbox',
      'io.kubernetes.cri.podsandbox.image-name': 'pause:1',
      'io.kubernetes.cri.sandbox-id': 'sb1',
      'io.kubernetes.cri.sandbox-log-directory': '/logs',
      'io.kubernetes.cri.sandbox-name': 'p',
      'io.kubernetes.cri.sandbox-namespace': 'ns',
      'io.kubernetes.cri.sandbox-uid': 'u',
    });
  });
});

describe('the spec of a container', () => {
  it('is confined by default: paths masked, calls filtered, capabilities few, limits explicit', async () => {
    const { spec } = await build(container());
    expect(spec.process).toMatchObject({
      args: ['/app', '-v'],
      cwd: '/srv',
      user,
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1000, soft: 1000 }],
    });
    expect(spec.linux?.maskedPaths).toContain('/proc/kcore');
    expect(spec.linux?.readonlyPaths).toContain('/proc/sys');
    expect(spec.linux?.seccomp).toBeDefined();
    expect(spec.linux?.resources?.devices).toEqual([{ allow: false, access: 'rwm' }]);
    expect(spec.mounts?.find(({ destination }) => destination === '/sys/fs/cgroup')?.options).toContain('ro');
  });

  it('does as the kubelet says when there is a security context', async () => {
    const { spec } = await build(container({ maskedPaths: ['/proc/kcore'], readonlyRootfs: true, noNewPrivs: true }));
    expect(spec.linux?.maskedPaths).toEqual(['/proc/kcore']);
    expect(spec.linux?.readonlyPaths).toEqual([]);
    expect(spec.linux).not.toHaveProperty('seccomp');
    expect(spec.root?.readonly).toBe(true);
    expect(spec.process?.noNewPrivileges).toBe(true);
  });

  it.each([
    ['POD', { type: 'pid', path: '/proc/77/ns/pid' }],
    ['CONTAINER', { type: 'pid' }],
    ['TARGET', { type: 'pid', path: '/proc/99/ns/pid' }],
    ['NODE', undefined],
  ] as const)('has the PID namespace of mode %s', async (pid, expected) => {
    const config = container({ namespaceOptions: { ...namespaceOptions, pid } });
    const { spec } = await build(config, { targetPid: 99 });
    expect(spec.linux?.namespaces?.find(({ type }) => type === 'pid')).toEqual(expected);
  });

  it('joins the pod’s network by its pinned path and the rest through the pause process', async () => {
    const { spec } = await build(container());
    expect(spec.linux?.namespaces).toEqual(
      expect.arrayContaining([
        { type: 'network', path: '/run/netns/sb1' },
        { type: 'uts', path: '/proc/77/ns/uts' },
        { type: 'ipc', path: '/proc/77/ns/ipc' },
      ]),
    );
  });

  it('has a cgroup namespace on cgroup v2 only', async () => {
    const types = async (facts: HostFacts) =>
      (await build(container(), { host: facts })).spec.linux?.namespaces?.map(({ type }) => type);
    expect(await types(host)).not.toContain('cgroup');
    expect(await types({ ...host, unifiedCgroups: true })).toContain('cgroup');
  });

  it('may be privileged only in a privileged pod, and then sees everything', async () => {
    await expect(build(container({ privileged: true }))).rejects.toMatchObject({ code: 'invalid_argument' });
    const { spec } = await build(
      container({ privileged: true }),
      {},
      pod({ linux: podSecurity({ privileged: true }) }),
    );
    expect(spec.process?.capabilities?.bounding).toEqual(capabilityNames);
    expect(spec.linux?.maskedPaths).toEqual([]);
    expect(spec.linux?.resources?.devices).toContainEqual({ allow: true, access: 'rwm' });
    expect(spec.linux?.devices).toContainEqual(
      expect.objectContaining({ path: '/dev/null', type: 'c', major: 1, minor: 3 }),
    );
    expect(spec.mounts?.find(({ destination }) => destination === '/sys')?.options).toContain('rw');
    expect(spec.linux).not.toHaveProperty('seccomp');
  });

  it('has the AppArmor profile that is asked for, where there is AppArmor', async () => {
    const config = container({ apparmor: { profileType: 'Localhost', localhostRef: 'localhost/mine' } });
    const byDefault = container({ apparmor: { profileType: 'RuntimeDefault', localhostRef: '' } });
    await expect(build(config)).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(build(byDefault)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('RuntimeDefault'),
    });
    const { confining } = appArmor('mine');
    for (const asked of [config, container({ apparmorProfile: 'localhost/mine' })]) {
      expect((await build(asked, confining)).spec.process?.apparmorProfile).toBe('mine');
    }
    await expect(build(container({ apparmorProfile: 'localhost/other' }), confining)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('"other"'),
    });
    await expect(build(container({ apparmorProfile: 'mine' }))).rejects.toMatchObject({ code: 'invalid_argument' });
    const unconfined = container({ apparmorProfile: 'unconfined' });
    expect((await build(unconfined, confining)).spec.process?.apparmorProfile).toBe('unconfined');
    expect((await build(unconfined)).spec.process).not.toHaveProperty('apparmorProfile');
  });

  it('has the default AppArmor profile unless it asks for another, loaded when it is missing', async () => {
    const { confining, loads } = appArmor();
    const byDefault = container({ apparmor: { profileType: 'RuntimeDefault', localhostRef: '' } });
    for (const asked of [byDefault, container({}), container({ apparmorProfile: 'runtime/default' })]) {
      expect((await build(asked, confining)).spec.process?.apparmorProfile).toBe('berth-default');
    }
    expect(loads).toEqual([expect.stringContaining('profile berth-default ')]);
    const privileged = await build(
      container({ privileged: true }),
      confining,
      pod({ linux: podSecurity({ privileged: true }) }),
    );
    expect(privileged.spec.process).not.toHaveProperty('apparmorProfile');
  });

  it('has the SELinux labels that it is given, but for the process of a privileged one', async () => {
    const selinux = { process: 'u:r:container_t:s0:c1,c2', mount: 'u:r:container_file_t:s0:c1,c2' };
    const { spec } = await build(container(), { selinux });
    expect([spec.process?.selinuxLabel, spec.linux?.mountLabel]).toEqual([selinux.process, selinux.mount]);
    const privileged = await build(
      container({ privileged: true }),
      { selinux },
      pod({ linux: podSecurity({ privileged: true }) }),
    );
    expect(privileged.spec.process).not.toHaveProperty('selinuxLabel');
    expect(privileged.spec.linux?.mountLabel).toBe(selinux.mount);
  });

  it('takes the seccomp profile’s former field where the new one isn’t set', async () => {
    const seccomp = { profileType: 'Unconfined' as const, localhostRef: '' };
    const filtered = async (security: Partial<Security>) => (await build(container(security))).spec.linux?.seccomp;
    expect(await filtered({ seccompProfilePath: 'runtime/default' })).toBeDefined();
    expect(await filtered({ seccompProfilePath: 'runtime/default', seccomp })).toBeUndefined();
    await expect(build(container({ seccompProfilePath: 'localhost/relative' }))).rejects.toThrow('absolute path');
  });

  it('has an OOM score that the kernel knows', async () => {
    const scored = (oomScoreAdj: string) => ({
      ...container(),
      linux: { resources: { ...noResources, oomScoreAdj }, securityContext: null },
    });
    expect((await build(scored('900'))).spec.process?.oomScoreAdj).toBe(900);
    expect((await build(scored('-900'))).spec.process?.oomScoreAdj).toBe(host.limits.oomScoreAdj);
    await expect(build(scored('1001'))).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('refuses what would otherwise be dropped in silence', async () => {
    const usernsOptions = { mode: 'POD' as const, uids: [], gids: [] };
    const config = container({ namespaceOptions: { ...namespaceOptions, usernsOptions } });
    await expect(build(config)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('an image’s configuration', () => {
  it.each([
    { Env: 'PATH=x' },
    { Volumes: ['/a'] },
    { Volumes: { '/a\0': {} } },
    { Entrypoint: [1] },
    { User: 5 },
    { WorkingDir: 'a\0b' },
    { Cmd: {} },
  ])('that is hostile is refused: %j', (config) => {
    expect(() => imageProcess({ config: config as never })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });
});

describe('mounts', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const cri = (containerPath: string, fields: object = {}) => ({
    containerPath,
    hostPath: dir,
    readonly: false,
    selinuxRelabel: false,
    propagation: 'PROPAGATION_PRIVATE' as const,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    image: null,
    imageSubPath: '',
    ...fields,
  });
  const base = [
    { destination: '/proc', type: 'proc' },
    { destination: '/dev', type: 'tmpfs' },
    { destination: '/dev/pts', type: 'devpts' },
  ];

  it('of the pod replace the runtime’s, with parents before what lies in them', async () => {
    const extra = [{ containerPath: '/etc/hosts', hostPath: dir, readonly: true, selinuxRelabel: true }];
    const own = [cri('/a/b/c'), cri('/a'), cri('/etc/hosts/', { readonly: true }), cri('/dev')];
    const { mounts } = await containerMounts(base, own as never, extra, support);
    expect(mounts.map(({ destination }) => destination)).toEqual(['/proc', '/a', '/dev', '/etc/hosts/', '/a/b/c']);
    expect(mounts.at(-2)?.options).toEqual(['rbind', 'rprivate', 'ro']);
  });

  it('follow links on the host, and make what is missing', async () => {
    symlinkSync(dir, join(dir, 'link'));
    const { mounts } = await containerMounts([], [cri('/x', { hostPath: join(dir, 'link') })] as never, [], support);
    expect(mounts[0]?.source).toBe(dir);
    const missing = join(dir, 'new', 'dir');
    const made = await containerMounts([], [cri('/x', { hostPath: missing })] as never, [], support);
    expect(made.mounts[0]?.source).toBe(missing);
  });

  it('are read-only with all below them where the pod asks for that and the runtime can', async () => {
    const recursive = (fields: object) => [cri('/x', { readonly: true, recursiveReadOnly: true, ...fields })] as never;
    const { mounts } = await containerMounts([], recursive({}), [], support);
    expect(mounts[0]?.options).toEqual(['rbind', 'rprivate', 'rro']);
    const none = { features: noFeatures };
    for (const [own, facts, word] of [
      [recursive({ readonly: false }), support, 'needs readonly'],
      [recursive({ propagation: 'PROPAGATION_HOST_TO_CONTAINER' }), support, 'private propagation'],
      [recursive({}), none, "doesn't support"],
    ] as const) {
      const refused = containerMounts([], own, [], facts, () =>
        parseMountInfo('1 0 0:1 / / rw shared:1 - ext4 /dev/x rw\n'),
      );
      await expect(refused).rejects.toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(word) });
    }
  });

  it('propagate as far as the host’s mount does', async () => {
    const info = (optional: string) => () => parseMountInfo(`1 0 0:1 / / rw ${optional}- ext4 /dev/x rw\n`);
    const both = cri('/x', { propagation: 'PROPAGATION_BIDIRECTIONAL' });
    const down = cri('/x', { propagation: 'PROPAGATION_HOST_TO_CONTAINER' });
    const shared = await containerMounts([], [down, both] as never, [], support, info('shared:1 '));
    expect(shared).toMatchObject({
      rootfsPropagation: 'rshared',
      mounts: [{ options: ['rbind', 'rslave', 'rw'] }, {}],
    });
    const slave = await containerMounts([], [down] as never, [], support, info('master:1 '));
    expect(slave.rootfsPropagation).toBe('rslave');
    await expect(containerMounts([], [both] as never, [], support, info('master:1 '))).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('--make-rshared'),
    });
  });

  it('of a path are found in mountinfo, escapes and all', () => {
    const mounts = parseMountInfo('1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /a\\040b rw shared:5 - ext4 y rw\n');
    expect(mountOf('/a b/c', mounts)).toEqual({ mountpoint: '/a b', optional: ['shared:5'] });
    expect(mountOf('/a bc', mounts)?.mountpoint).toBe('/');
  });
});
