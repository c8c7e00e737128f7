import { expect, test } from 'vitest';
import { PodEvents } from '../../../apps/cri-shim/pod-events.ts';
import { Container } from '../../../apps/cri-shim/store/container.ts';
import { Index } from '../../../apps/cri-shim/store/index.ts';
import { type ContainerMetadata, newContainerStatus, newSandboxStatus } from '../../../apps/cri-shim/store/records.ts';
import { Sandbox } from '../../../apps/cri-shim/store/sandbox.ts';

function world(limit?: number) {
  const sandboxes = new Index<Sandbox>('pod sandbox');
  const containers = new Index<Container>('container');
  const config = { metadata: null, labels: {}, annotations: {}, linux: null };
  const sandbox = new Sandbox({ id: 'pod', config, createdAt: '1', runtimeHandler: '' } as never, newSandboxStatus);
  sandboxes.add(sandbox);
  const container = (id: string) => {
    const own = { ...config, mounts: [], image: null };
    const metadata = { id, sandboxId: 'pod', config: own, stopSignal: 15, user: { supplementalGroups: [] } };
    const made = new Container(metadata as unknown as ContainerMetadata, newContainerStatus, { process: undefined });
    containers.add(made);
    return made;
  };
  return { sandboxes, containers, sandbox, container, events: new PodEvents(sandboxes, containers, limit) };
}

const { signal } = new AbortController();

test('a slow reader gets every event in order, with the newest state of the pod', async () => {
  const { events, container } = world();
  const reading = events.follow(signal);
  const all = Array.from({ length: 10_000 }, (_, number) => container(`c${number % 10}`));
  for (const each of all) events.container('CONTAINER_STARTED_EVENT', each);
  all[0]?.become({ ...newContainerStatus, startedAt: '1', finishedAt: '2', exitCode: 3 });
  events.container('CONTAINER_STOPPED_EVENT', all[0] as Container);
  for (const each of all) {
    const { value } = await reading.next();
    expect(value).toMatchObject({ containerId: each.id, containerEventType: 'CONTAINER_STARTED_EVENT' });
    expect(value.podSandboxStatus?.id).toBe('pod');
    expect(value.containersStatuses).toHaveLength(10);
  }
  const { value } = await reading.next();
  expect(value).toMatchObject({ containerId: 'c0', containerEventType: 'CONTAINER_STOPPED_EVENT' });
});

test('readers don’t wait for each other', async () => {
  const { events, container } = world();
  const [slow, fast] = [events.follow(signal), events.follow(signal)];
  const made = container('c');
  for (const type of ['CONTAINER_CREATED_EVENT', 'CONTAINER_STARTED_EVENT'] as const) {
    events.container(type, made);
    expect((await fast.next()).value.containerEventType).toBe(type);
  }
  expect((await slow.next()).value.containerEventType).toBe('CONTAINER_CREATED_EVENT');
});

test('what is gone is told of with the last that was known of its pod', async () => {
  const { events, sandboxes, sandbox } = world();
  const reading = events.follow(signal);
  sandboxes.delete('pod');
  events.sandbox('CONTAINER_DELETED_EVENT', sandbox);
  expect((await reading.next()).value).toMatchObject({ containerId: 'pod', podSandboxStatus: { id: 'pod' } });
});

test('a reader that lags beyond measure is told to list anew instead of losing events', async () => {
  const { events, container } = world(3);
  const reading = events.follow(signal);
  const made = container('c');
  for (let count = 0; count < 4; count++) events.container('CONTAINER_STARTED_EVENT', made);
  await expect(reading.next()).rejects.toMatchObject({ code: 'resource_exhausted' });
  const next = events.follow(signal);
  events.container('CONTAINER_STARTED_EVENT', made);
  expect((await next.next()).value.containerId).toBe('c');
});

test('a reader that leaves is let go', async () => {
  const { events, container } = world();
  const leaving = new AbortController();
  const pending = events.follow(leaving.signal).next();
  leaving.abort();
  expect((await pending).done).toBe(true);
  events.container('CONTAINER_STARTED_EVENT', container('c'));
});
