import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { TestNriPlugin } from '../support/nri-plugin.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri((dir) => ({
  nri: {
    enable: true,
    socket_path: `${dir}/nri.sock`,
    plugin_path: `${dir}/nri/plugins`,
    plugin_config_path: `${dir}/nri/conf.d`,
    // Long enough for a plugin on a loaded machine.
    request_timeout: '4s',
    registration_timeout: '30s',
  },
}));

type Handlers = Parameters<typeof TestNriPlugin.start>[2];
const connect = (index: string, handlers: Handlers, name = 'test') =>
  TestNriPlugin.start(`${suite.dir}/nri.sock`, { index, name }, handlers);
const nothing = () => ({});

describe('NRI plugins', () => {
  it('hear of a pod and its container from beginning to end, once each', async () => {
    const names = ['RunPodSandbox', 'CreateContainer', 'PostCreateContainer', 'StartContainer', 'PostStartContainer'];
    const ends = ['StopContainer', 'RemoveContainer', 'StopPodSandbox', 'RemovePodSandbox'];
    using plugin = await connect('10', Object.fromEntries([...names, ...ends].map((name) => [name, nothing])));
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const containerId = await suite.start(id, pod, suite.containerConfig('c', 'exit 3'));
    await suite.exited(containerId);
    await waitFor('the end to be told', () => plugin.seen.includes('StopContainer'));
    await suite.cri.runtime.removeContainer({ containerId });
    await suite.removePod(id);
    expect(plugin.seen).toEqual(['Configure', 'Synchronize', ...names, ...ends]);
  });

  it('change a container, each on top of those before it', async () => {
    using _first = await connect('10', {
      CreateContainer: () => ({
        adjust: {
          env: [{ key: 'GREETING', value: 'hello' }],
          annotations: { seen: 'yes' },
          mounts: [{ destination: '/extra', type: 'tmpfs', source: 'tmpfs', options: ['ro'] }],
          rlimits: [{ type: 'RLIMIT_NOFILE', hard: 512, soft: 256 }],
          linux: { resources: { pids: { limit: 77 } } },
        },
      }),
    });
    let env: unknown;
    using _second = await connect('20', {
      CreateContainer: ({ container }) => {
        ({ env } = container as { env: unknown });
        return { adjust: { env: [{ key: '-GREETING' }, { key: 'GREETING', value: 'goodbye' }] } };
      },
    });
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', 'sleep 1000'));
    expect(env).toContain('GREETING=hello');
    // The container's own limits: runc 1.1's `exec` sets a command's while its Go runtime raises the soft one to the hard one.
    const look = 'echo $GREETING; grep "open files" /proc/$(pidof sleep)/limits; grep /extra /proc/mounts';
    const said = await suite.exec(container, 'sh', '-c', look);
    expect(said).toMatch(/^goodbye\nMax open files +256 +512 +files *\ntmpfs \/extra tmpfs ro/);
    const { info } = await suite.cri.runtime.containerStatus({ containerId: container, verbose: true });
    const { runtimeSpec } = JSON.parse(info.info ?? '') as { runtimeSpec: object };
    expect(runtimeSpec).toMatchObject({ annotations: { seen: 'yes' }, linux: { resources: { pids: { limit: 77 } } } });
    await suite.removePod(id);
  });

  it('may not set the same thing, and may refuse a container', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const set = () => ({ adjust: { env: [{ key: 'A', value: 'x' }] } });
    {
      using _first = await connect('10', { CreateContainer: set });
      using _second = await connect('20', { CreateContainer: set });
      await expect(suite.create(id, pod, suite.containerConfig('c', 'true'))).rejects.toMatchObject({
        code: 'failed_precondition',
        message: expect.stringContaining('10-test and 20-test both set environment variable A'),
      });
    }
    using _validator = await connect('30', {
      ValidateContainerAdjustment: () => ({ reject: true, reason: 'not here' }),
    });
    await expect(suite.create(id, pod, suite.containerConfig('c', 'true'))).rejects.toThrow('not here');
    await suite.removePod(id);
  });

  it('learn what was there before them, and change limits by themselves', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', 'sleep 1000'));
    let known: unknown;
    using plugin = await connect('10', {
      Synchronize: (request) => {
        known = request;
        return {};
      },
      CreateContainer: nothing,
    });
    expect(known).toMatchObject({ pods: [{ id }], containers: [{ id: container, state: 'CONTAINER_RUNNING' }] });
    const resources = { cpu: { shares: { value: 333 } } };
    await plugin.call('UpdateContainers', { update: [{ containerId: container, linux: { resources } }] });
    const { info } = await suite.cri.runtime.containerStatus({ containerId: container, verbose: true });
    expect(JSON.parse(info.info ?? '')).toMatchObject({
      runtimeSpec: { linux: { resources: { cpu: { shares: 333 } } } },
    });
    await suite.removePod(id);
  });

  it('have the time of a registration to take in what is there, and miss nothing that is made meanwhile', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    let made: Promise<string> | undefined;
    using plugin = await connect('10', {
      Synchronize: async () => {
        made = suite.create(id, pod, suite.containerConfig('c', 'true'));
        await sleep(4_500);
        return {};
      },
      CreateContainer: nothing,
    });
    await made;
    expect(plugin.seen).toEqual(['Configure', 'Synchronize', 'CreateContainer']);
    await suite.removePod(id);
  });

  it('hear of a pod’s new resources before and after, and may object', async () => {
    const heard: unknown[] = [];
    let objection: string | undefined;
    using _plugin = await connect('10', {
      UpdatePodSandbox: (request) => {
        if (objection !== undefined) throw new Error(objection);
        heard.push(request);
        return {};
      },
      PostUpdatePodSandbox: (request) => {
        heard.push(request);
        return {};
      },
    });
    const podSandboxId = await suite.runPod(suite.podConfig());
    const update = (shares: number) =>
      suite.cri.runtime.updatePodSandboxResources({ podSandboxId, resources: { cpuShares: String(shares) } });
    await update(444);
    const resources = { cpu: { shares: { value: '444' } } };
    expect(heard).toMatchObject([
      { pod: { id: podSandboxId }, linuxResources: resources },
      { pod: { id: podSandboxId, linux: { podResources: resources } } },
    ]);
    objection = 'too much';
    await expect(update(555)).rejects.toThrow('too much');
    const { info } = await suite.cri.runtime.podSandboxStatus({ podSandboxId, verbose: true });
    expect(info.info).toContain('"444"');
    expect(info.info).not.toContain('"555"');
    await suite.removePod(podSandboxId);
  });

  it('evict a container, from an event and by themselves', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const start = (name: string) => suite.start(id, pod, suite.containerConfig(name, 'sleep 1000'));
    const [first, second] = [await start('first'), await start('second')];
    using plugin = await connect('10', {
      CreateContainer: () => ({ evict: [{ containerId: first, reason: 'room for others' }] }),
    });
    const third = await start('third');
    expect((await suite.exited(first)).exitCode).toBe(137);
    await plugin.call('UpdateContainers', { evict: [{ containerId: second, reason: 'no reason' }] });
    await suite.exited(second);
    expect((await suite.status(third)).state).toBe('CONTAINER_RUNNING');
    await suite.removePod(id);
  });

  it('choose an RDT class, but no class of block I/O that nobody has defined', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    let resources: object = { rdtClass: { value: 'gold' } };
    using plugin = await connect('10', { CreateContainer: () => ({ adjust: { linux: { resources } } }) });
    const containerId = await suite.create(id, pod, suite.containerConfig('gold', 'true'));
    const { info } = await suite.cri.runtime.containerStatus({ containerId, verbose: true });
    expect(JSON.parse(info.info ?? '')).toMatchObject({ runtimeSpec: { linux: { intelRdt: { closID: 'gold' } } } });
    resources = { blockioClass: { value: 'slow' } };
    await expect(suite.create(id, pod, suite.containerConfig('slow', 'true'))).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('block I/O class "slow"'),
    });
    expect(plugin.seen.filter((event) => event === 'CreateContainer')).toHaveLength(2);
    await suite.removePod(id);
  });

  it('that don’t answer in time miss one event, and stay', async () => {
    let slow = true;
    using plugin = await connect('10', {
      CreateContainer: async () => {
        if (slow) await new Promise(() => undefined);
        return { adjust: { env: [{ key: 'LATE', value: 'no' }] } };
      },
    });
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const first = await suite.start(id, pod, suite.containerConfig('first', 'sleep 1000'));
    expect(await suite.exec(first, 'sh', '-c', 'echo "<$LATE>"')).toBe('<>\n');
    slow = false;
    const second = await suite.start(id, pod, suite.containerConfig('second', 'sleep 1000'));
    expect(await suite.exec(second, 'sh', '-c', 'echo "<$LATE>"')).toBe('<no>\n');
    expect(plugin.seen.filter((event) => event === 'CreateContainer')).toHaveLength(2);
    await suite.removePod(id);
  });
});
