import { execFileSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { advisoryOf } from '../../apps/cri-shim/runtime-advisories.ts';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
let clean: LeakSnapshot;

beforeAll(async () => {
  clean = await suite.clean();
});

const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
/** What limits end up in. */
const cgroupFiles = unified
  ? { memory: 'memory.max', swap: 'memory.swap.max', shares: 'cpu.weight', quota: 'cpu.max', cpus: 'cpuset.cpus' }
  : {
      memory: 'memory/memory.limit_in_bytes',
      swap: 'memory/memory.memsw.limit_in_bytes',
      shares: 'cpu/cpu.shares',
      quota: 'cpu/cpu.cfs_quota_us',
      cpus: 'cpuset/cpuset.cpus',
    };

const forever = 'trap "exit 0" TERM; while :; do sleep 0.1; done';

describe('the runtime', () => {
  it('answers version, status and cgroup driver', async () => {
    const { runtime } = suite.cri;
    expect(await runtime.version({})).toMatchObject({ runtimeName: 'berth', runtimeApiVersion: 'v1' });
    // It serves before it is ready: images of the drop directory come first.
    const { status, info, runtimeHandlers } = await waitFor('readiness', async () => {
      const answer = await runtime.status({ verbose: true });
      return answer.status?.conditions[0]?.status && answer;
    });
    expect(runtimeHandlers.map(({ name }) => name)).toEqual(['', 'runc']);
    expect(status?.conditions).toEqual([
      { type: 'RuntimeReady', status: true, reason: '', message: '' },
      { type: 'NetworkReady', status: true, reason: '', message: '' },
    ]);
    expect(info.lastCNILoadStatus).toBe('OK');
    expect(JSON.parse(info.config ?? '')).toMatchObject({ root: expect.any(String) });
    expect((await runtime.runtimeConfig({})).linux?.cgroupDriver).toMatch(/^(SYSTEMD|CGROUPFS)$/);
  });

  it('says once at the start that its OCI runtime is older than the fixes of known escapes', async () => {
    const advisory = advisoryOf(execFileSync('runc', ['--version'], { encoding: 'utf8' }));
    if (advisory === undefined) return;
    await waitFor('the warning', () => suite.berth.cri.log().includes(advisory));
    expect(suite.berth.cri.log().split(advisory)).toHaveLength(2);
  });
});

describe('a pod on a bridge network', () => {
  it('lives: two containers reach each other, log, run commands, stop and leave nothing', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const { status } = await runtime.podSandboxStatus({ podSandboxId: id });
    expect(status).toMatchObject({ id, state: 'SANDBOX_READY', runtimeHandler: 'runc', metadata: pod.metadata });
    expect(status?.network?.ip).toMatch(new RegExp(`^${suite.berth.network.prefix.replaceAll('.', '\\.')}\\d+$`));

    const page = 'mkdir -p /tmp/www; echo "served" > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www';
    const server = await suite.start(id, pod, suite.containerConfig('server', page));
    const client = await suite.start(
      id,
      pod,
      suite.containerConfig(
        'client',
        'until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done; echo oops >&2; exit 3',
      ),
    );
    expect(await suite.exited(client)).toMatchObject({ exitCode: 3, reason: 'Error', state: 'CONTAINER_EXITED' });
    expect(suite.log(pod, 'client').filter((line) => !line.includes('refused'))).toEqual(['served', 'oops']);

    // The pod's address is reachable from the host.
    expect(await (await fetch(`http://${status?.network?.ip}:8080/`)).text()).toBe('served\n');
    expect((await suite.exec(server, 'hostname')).trim()).toBe(pod.metadata?.name);
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
    await expect(runtime.podSandboxStatus({ podSandboxId: id })).rejects.toMatchObject({ code: 'not_found' });
    await expect(runtime.containerStatus({ containerId: server })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('takes note of resources that change while it runs', async () => {
    const { runtime } = suite.cri;
    const podSandboxId = await suite.runPod(suite.podConfig());
    await runtime.updatePodSandboxResources({
      podSandboxId,
      overhead: { cpuShares: '7' },
      resources: { memoryLimitInBytes: '33554432' },
    });
    const { info } = await runtime.podSandboxStatus({ podSandboxId, verbose: true });
    const { linux } = JSON.parse(info.info ?? '').config;
    expect(Number(linux.resources.memory_limit_in_bytes)).toBe(33_554_432);
    expect(Number(linux.overhead.cpu_shares)).toBe(7);
    await runtime.stopPodSandbox({ podSandboxId });
    await expect(runtime.updatePodSandboxResources({ podSandboxId })).rejects.toMatchObject({
      code: 'failed_precondition',
    });
    await suite.removePod(podSandboxId);
    await expect(runtime.updatePodSandboxResources({ podSandboxId })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('can be on the host’s network', async () => {
    const pod = suite.podConfig({
      hostname: '',
      linux: {
        cgroupParent: `/${suite.cgroup}`,
        securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER' } },
      },
    });
    const id = await suite.runPod(pod);
    const { status } = await suite.cri.runtime.podSandboxStatus({ podSandboxId: id });
    expect(status?.network?.ip).toBe('');
    expect(status?.linux?.namespaces?.options?.network).toBe('NODE');
    const container = await suite.start(id, pod, suite.containerConfig('c', forever));
    expect((await suite.exec(container, 'hostname')).trim()).toBe(hostname());
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('can have a fully qualified host name, up to what Linux takes', async () => {
    const hostname = `pod.${'sub.'.repeat(10)}default.svc.cluster`;
    expect(hostname.length).toBe(63);
    for (const name of [hostname, `${hostname}1`]) {
      const pod = suite.podConfig({ hostname: name });
      const id = await suite.runPod(pod);
      const container = await suite.start(id, pod, suite.containerConfig('c', forever));
      const told = await suite.exec(container, 'sh', '-c', 'hostname; cat /etc/hostname; echo $HOSTNAME');
      expect(told).toBe(`${name}\n`.repeat(3));
      await suite.removePod(id);
    }
  });

  it('has the DNS configuration, sysctls and shared memory that were asked for', async () => {
    const pod = suite.podConfig({
      dnsConfig: { servers: ['10.0.0.10'], searches: ['a.local', 'b.local'], options: ['ndots:5'] },
      linux: {
        cgroupParent: `/${suite.cgroup}`,
        sysctls: { 'net.ipv4.ip_local_port_range': '40000 40100' },
        securityContext: {},
      },
    });
    const id = await suite.runPod(pod);
    const a = await suite.start(id, pod, suite.containerConfig('a', `echo hi > /dev/shm/note; ${forever}`));
    const b = await suite.start(id, pod, suite.containerConfig('b', forever));
    expect(await suite.exec(b, 'cat', '/etc/resolv.conf')).toBe(
      'search a.local b.local\nnameserver 10.0.0.10\noptions ndots:5\n',
    );
    expect((await suite.exec(b, 'cat', '/proc/sys/net/ipv4/ip_local_port_range')).split(/\s+/)).toContain('40100');
    expect(await suite.exec(b, 'cat', '/dev/shm/note')).toBe('hi\n');
    expect(await suite.exec(a, 'cat', '/etc/hostname')).toBe(`${pod.metadata?.name}\n`);
    await suite.removePod(id);
  });

  it('can share its processes among its containers, or keep them apart', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const own = { linux: { securityContext: { namespaceOptions: { pid: 'CONTAINER' as const } } } };
    const apart = await suite.start(id, pod, suite.containerConfig('apart', forever, own));
    const shared = await suite.start(id, pod, suite.containerConfig('shared', forever));
    expect(await suite.exec(apart, 'cat', '/proc/1/comm')).toBe('sh\n');
    expect(await suite.exec(shared, 'cat', '/proc/1/comm')).toBe('pause\n');
    const target = { linux: { securityContext: { namespaceOptions: { pid: 'TARGET' as const, targetId: apart } } } };
    const guest = await suite.start(id, pod, suite.containerConfig('guest', forever, target));
    expect(await suite.exec(guest, 'cat', '/proc/1/comm')).toBe('sh\n');
    await runtime.stopContainer({ containerId: guest, timeout: 10 });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('tells tools what it is made of', async () => {
    const pod = suite.podConfig({ labels: { app: 'x' } });
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', forever));
    const podInfo = JSON.parse(
      (await suite.cri.runtime.podSandboxStatus({ podSandboxId: id, verbose: true })).info.info ?? '',
    );
    expect(podInfo).toMatchObject({
      pid: expect.any(Number),
      runtimeType: 'io.containerd.runc.v2',
      snapshotKey: id,
      snapshotter: 'overlayfs',
      config: { metadata: { name: pod.metadata?.name }, log_directory: pod.logDirectory },
      cniResult: { Interfaces: { eth0: { IPConfigs: [{ IP: expect.any(String) }] } } },
      runtimeSpec: { annotations: { 'io.kubernetes.cri.container-type': 'sandbox' } },
    });
    const info = JSON.parse(
      (await suite.cri.runtime.containerStatus({ containerId: container, verbose: true })).info.info ?? '',
    );
    expect(info).toMatchObject({
      sandboxID: id,
      pid: expect.any(Number),
      runtimeSpec: { ociVersion: '1.0.2', linux: { cgroupsPath: `/${suite.cgroup}/${container}` } },
    });
    await suite.removePod(id);
  });
});

describe('lists', () => {
  it('filter by id, beginning of an id, state, pod and labels', async () => {
    const { runtime } = suite.cri;
    const pods = [suite.podConfig({ labels: { app: 'one' } }), suite.podConfig({ labels: { app: 'two' } })] as const;
    const [one, two] = [await suite.runPod(pods[0]), await suite.runPod(pods[1])];
    const podIds = async (filter: object) =>
      (await runtime.listPodSandbox({ filter })).items.map(({ id }) => id).sort();
    expect(await podIds({})).toEqual([one, two].sort());
    expect(await podIds({ id: one.slice(0, 12) })).toEqual([one]);
    expect(await podIds({ labelSelector: { app: 'two' } })).toEqual([two]);
    expect(await podIds({ labelSelector: { app: 'two', more: 'x' } })).toEqual([]);
    await runtime.stopPodSandbox({ podSandboxId: one });
    expect(await podIds({ state: { state: 'SANDBOX_NOTREADY' } })).toEqual([one]);
    expect(await podIds({ state: { state: 'SANDBOX_READY' } })).toEqual([two]);

    const created = await suite.create(two, pods[1], suite.containerConfig('a', 'true', { labels: { tier: 'db' } }));
    const running = await suite.start(two, pods[1], suite.containerConfig('b', forever));
    const ids = async (filter: object) =>
      (await runtime.listContainers({ filter })).containers.map(({ id }) => id).sort();
    expect(await ids({})).toEqual([created, running].sort());
    expect(await ids({ podSandboxId: one })).toEqual([]);
    expect(await ids({ podSandboxId: two.slice(0, 10), state: { state: 'CONTAINER_RUNNING' } })).toEqual([running]);
    expect(await ids({ labelSelector: { tier: 'db' } })).toEqual([created]);
    expect(await ids({ id: running })).toEqual([running]);
    await suite.removePod(one);
    await suite.removePod(two);
    await expectNoLeaks(suite.scope, clean);
  });
});

describe('a container', () => {
  it('has a root file system that nothing is synced of', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', forever));
    const root = (await suite.exec(container, 'cat', '/proc/mounts')).split('\n')[0] ?? '';
    expect(root).toMatch(/^overlay \/ overlay .*\bvolatile\b/);
    await suite.removePod(id);
  });

  it('runs as the user, in the directory, with the environment, mounts and limits that were asked for', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const missing = join(suite.dir, 'made', 'on', 'demand');
    const config = suite.containerConfig('c', `pwd; id; echo $GREETING; ulimit -n; echo x > /made/x; ${forever}`, {
      workingDir: '/tmp',
      envs: [{ key: 'GREETING', value: Buffer.from('hello world') }],
      mounts: [
        { hostPath: missing, containerPath: '/made' },
        { hostPath: '/etc/debian_version', containerPath: '/ro', readonly: true },
      ],
      linux: {
        resources: { memoryLimitInBytes: 64 << 20, cpuShares: 512, oomScoreAdj: -500 },
        securityContext: {
          runAsUsername: 'app',
          supplementalGroups: [4000],
          readonlyRootfs: true,
          capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['CHOWN'] },
          noNewPrivs: true,
        },
      },
    });
    const container = await suite.start(id, pod, config);
    await suite.logged(pod, 'c', 'hello world');
    const [cwd, ids] = suite.log(pod, 'c');
    expect(cwd).toBe('/tmp');
    expect(ids).toMatch(/uid=1000\(app\) gid=1000\(app\) groups=.*2000\(extra\),4000/);
    expect((await suite.status(container)).user?.linux).toEqual({
      uid: '1000',
      gid: '1000',
      supplementalGroups: ['1000', '2000', '4000'],
    });
    const status = await suite.exec(container, 'cat', '/proc/1/status');
    expect(status).toMatch(/NoNewPrivs:\s+1/);
    expect(status).toMatch(/CapInh:\s+0000000000000000/);
    await expect(suite.exec(container, 'touch', '/new')).rejects.toThrow('Read-only');
    await expect(suite.exec(container, 'sh', '-c', 'echo >> /ro')).rejects.toThrow();
    await suite.removePod(id);
  });

  it('is ended by its stop signal, or by force when it ignores it', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const polite = await suite.start(
      id,
      pod,
      suite.containerConfig('polite', 'trap "exit 7" TERM; echo up; while :; do sleep 0.05; done'),
    );
    await suite.logged(pod, 'polite', 'up');
    await runtime.stopContainer({ containerId: polite, timeout: 30 });
    expect(await suite.status(polite)).toMatchObject({ exitCode: 7, reason: 'Error', state: 'CONTAINER_EXITED' });

    const quit = suite.containerConfig('quit', 'trap "exit 9" QUIT; echo up; while :; do sleep 0.05; done', {
      stopSignal: 'SIGQUIT',
    });
    const other = await suite.start(id, pod, quit);
    await suite.logged(pod, 'quit', 'up');
    expect((await suite.status(other)).stopSignal).toBe('SIGQUIT');
    await runtime.stopContainer({ containerId: other, timeout: 30 });
    expect((await suite.status(other)).exitCode).toBe(9);

    const stubborn = await suite.start(
      id,
      pod,
      suite.containerConfig('stubborn', 'trap "" TERM; echo up; while :; do sleep 0.05; done'),
    );
    await suite.logged(pod, 'stubborn', 'up');
    // Two calls at once join; the shorter grace counts.
    await Promise.all([
      runtime.stopContainer({ containerId: stubborn, timeout: 60 }),
      runtime.stopContainer({ containerId: stubborn, timeout: 1 }),
    ]);
    expect(await suite.status(stubborn)).toMatchObject({ exitCode: 137, state: 'CONTAINER_EXITED' });
    // Again, and for one that never was: no error.
    await runtime.stopContainer({ containerId: stubborn, timeout: 1 });
    await runtime.stopContainer({ containerId: 'f'.repeat(64), timeout: 1 });
    await runtime.removeContainer({ containerId: stubborn });
    await runtime.removeContainer({ containerId: stubborn });
    await suite.removePod(id);
    await runtime.stopPodSandbox({ podSandboxId: id });
    await runtime.removePodSandbox({ podSandboxId: id });
    await expectNoLeaks(suite.scope, clean);
  });

  it('that runs out of memory says so', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const hungry = suite.containerConfig('hungry', 'tail /dev/zero', {
      command: ['tail', '/dev/zero'],
      linux: { resources: { memoryLimitInBytes: 16 << 20, memorySwapLimitInBytes: 16 << 20 }, securityContext: {} },
    });
    const container = await suite.start(id, pod, hungry);
    expect(await suite.exited(container)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' });
    await suite.removePod(id);
  });

  it('goes on in a new log file after rotation', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(
      id,
      pod,
      suite.containerConfig('c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done'),
    );
    await suite.logged(pod, 'c', '5');
    renameSync(join(pod.logDirectory, 'c.log'), join(pod.logDirectory, 'old.log'));
    await suite.cri.runtime.reopenContainerLog({ containerId: container });
    await suite.cri.runtime.stopContainer({ containerId: container, timeout: 0 });
    const lines = [...suite.log(pod, 'old'), ...suite.log(pod, 'c')];
    expect(lines).toEqual(lines.map((_, index) => String(index)));
    await suite.removePod(id);
  });

  it('takes new limits while it runs', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(
      id,
      pod,
      suite.containerConfig('c', forever, {
        linux: { resources: { memoryLimitInBytes: 64 << 20, cpuShares: 100 }, securityContext: {} },
      }),
    );
    await runtime.updateContainerResources({ containerId: container, linux: { memoryLimitInBytes: 128 << 20 } });
    expect((await suite.status(container)).resources?.linux).toMatchObject({
      memoryLimitInBytes: String(128 << 20),
      cpuShares: '100',
    });
    const update = { cpuShares: '333', cpuQuota: '50000', cpuPeriod: '100000', cpusetCpus: '0' };
    await runtime.updateContainerResources({ containerId: container, linux: update });
    const { memory, swap, shares, quota, cpus } = cgroupFiles;
    const look = [memory, swap, shares, quota, cpus].map((file) => `cat /sys/fs/cgroup/${file}`).join('; ');
    const found = (await suite.exec(container, 'sh', '-c', look)).trim().split('\n');
    // Without a limit of its own, swap is none: on v1 memory and swap are counted together.
    const limit = String(128 << 20);
    expect(found).toEqual(
      unified ? [limit, '0', expect.any(String), '50000 100000', '0'] : [limit, limit, '333', '50000', '0'],
    );
    await suite.removePod(id);
  });

  it('may use devices and all capabilities when it and its pod are privileged', async () => {
    const privileged = { cgroupParent: `/${suite.cgroup}`, securityContext: { privileged: true } };
    const pod = suite.podConfig({ linux: privileged });
    const id = await suite.runPod(pod);
    const config = suite.containerConfig('c', forever, { linux: { securityContext: { privileged: true } } });
    const container = await suite.start(id, pod, config);
    await suite.exec(container, 'sh', '-c', 'mkdir /tmp/m && mount -t tmpfs none /tmp/m');
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});
