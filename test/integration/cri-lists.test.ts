import { beforeAll, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { ContainerEventResponse__Output } from '#proto/runtime/v1/ContainerEventResponse.ts';
import { busybox, useCri } from '../support/cri-suite.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();

describe('GetContainerEvents', () => {
  it('tells of every change of a pod and its containers, with the state of the pod', async () => {
    const leave = new AbortController();
    const events: ContainerEventResponse__Output[] = [];
    const following = (async () => {
      const stream = suite.cri.runtime.getContainerEvents({}, { signal: leave.signal });
      for await (const event of stream) events.push(event);
    })().catch(() => undefined);
    const pod = suite.podConfig();
    const podId = await suite.runPod(pod);
    const id = await suite.start(podId, pod, suite.containerConfig('c', 'exit 3'));
    await suite.exited(id);
    await suite.cri.runtime.removeContainer({ containerId: id });
    await suite.removePod(podId);
    await waitFor('the last event', () => events.length === 8);
    leave.abort();
    await following;
    const told = events.map(({ containerId, containerEventType }) => [containerId, containerEventType]);
    expect(told).toEqual([
      [podId, 'CONTAINER_CREATED_EVENT'],
      [podId, 'CONTAINER_STARTED_EVENT'],
      [id, 'CONTAINER_CREATED_EVENT'],
      [id, 'CONTAINER_STARTED_EVENT'],
      [id, 'CONTAINER_STOPPED_EVENT'],
      [id, 'CONTAINER_DELETED_EVENT'],
      [podId, 'CONTAINER_STOPPED_EVENT'],
      [podId, 'CONTAINER_DELETED_EVENT'],
    ]);
    expect(events.every(({ podSandboxStatus }) => podSandboxStatus?.id === podId)).toBe(true);
    const [, , , , stopped, deleted] = events;
    expect(stopped?.containersStatuses).toMatchObject([{ id, state: 'CONTAINER_EXITED', exitCode: 3 }]);
    expect(deleted?.containersStatuses).toEqual([]);
    const times = events.map(({ createdAt }) => BigInt(createdAt));
    expect(times).toEqual(times.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
  });
});

describe('lists that stream', () => {
  it('hold what the lists of one message hold', async () => {
    const pod = suite.podConfig({ labels: { listed: 'yes' } });
    const podId = await suite.runPod(pod);
    const id = await suite.create(podId, pod, suite.containerConfig('c', 'true'));
    const { runtime, image } = suite.cri;
    const filter = { labelSelector: { listed: 'yes' } };
    const pods = (await Array.fromAsync(runtime.streamPodSandboxes({ filter }))).flatMap((each) => each.podSandboxes);
    expect(pods).toEqual((await runtime.listPodSandbox({ filter })).items);
    expect(pods.map((each) => each.id)).toEqual([podId]);
    const containers = (await Array.fromAsync(runtime.streamContainers({ filter: { podSandboxId: podId } }))).flatMap(
      (each) => each.containers,
    );
    expect(containers.map((each) => each.id)).toEqual([id]);
    const images = (await Array.fromAsync(image.streamImages({}))).flatMap((each) => each.images);
    expect(images).toEqual((await image.listImages({})).images);
    expect(images.flatMap(({ repoTags }) => repoTags)).toContain(busybox);
    expect(await Array.fromAsync(image.streamImages({ filter: { image: { image: 'nothing' } } }))).toEqual([
      { images: [] },
    ]);
    await suite.removePod(podId);
  });
});

describe('5,000 containers', () => {
  const count = 5000;
  /** So that all of them don't fit into one message of 16 MiB. */
  const annotations = { story: 'x'.repeat(4096) };

  beforeAll(async () => {
    using core = suite.berth.berthd.clients('k8s.io');
    const pending = Array.from({ length: count }, (_, number) => `many-${number}`);
    const write = async () => {
      for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
        await core.containers.create({ container: record(id) });
      }
    };
    await Promise.all(Array.from({ length: 16 }, write));
    await suite.berth.cri.restartAfterKill9();
  }, 120_000);

  function record(id: string) {
    const config = {
      metadata: { name: id, attempt: 0 },
      image: null,
      labels: { many: 'yes' },
      annotations,
      mounts: [],
    };
    const metadata = { version: 1, id, name: id, sandboxId: 'gone', config, createdAt: '1', imageId: '', imageRef: '' };
    const status = { version: 1, startedAt: '1', finishedAt: '2', exitCode: 0 };
    return {
      id,
      labels: { 'io.cri-containerd.kind': 'container' },
      runtime: { name: 'io.containerd.runc.v2' },
      spec: packJson(typeUrls.spec, {}),
      extensions: {
        'berth.cri.v1.Container': packJson('berth.cri.v1.Container', metadata),
        'berth.cri.v1.ContainerStatus': packJson('berth.cri.v1.ContainerStatus', status),
      },
    };
  }

  it('are all known after a restart, and listed without a message limit in the way', async () => {
    const { runtime } = suite.cri;
    const filter = { labelSelector: { many: 'yes' } };
    const stream = runtime.streamContainers({ filter }, { waitForReady: true });
    const lists = await Array.fromAsync(stream, ({ containers }) => containers);
    expect(new Set(lists.flat().map(({ id }) => id)).size).toBe(count);
    expect(lists.flat()[0]).toMatchObject({ state: 'CONTAINER_EXITED', annotations });
    await expect(runtime.listContainers({ filter })).rejects.toMatchObject({ code: 'resource_exhausted' });
    const one = await runtime.listContainers({ filter: { id: 'many-4999' } });
    expect(one.containers).toHaveLength(1);
  });
});
