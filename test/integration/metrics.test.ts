import { existsSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { busybox, useCri } from '../support/cri-suite.ts';

const address = (name: string) => (dir: string) => ({ metrics: { address: join(dir, `${name}-metrics.sock`) } });
const suite = useCri(address('cri'), address('core'));
let pod: string;

beforeAll(async () => {
  const config = suite.podConfig();
  pod = await suite.runPod(config);
  await suite.start(pod, config, suite.containerConfig('c', 'echo one; echo two; sleep 1000'));
  await suite.logged(config, 'c', 'two');
});

afterAll(async () => {
  await suite.removePod(pod);
});

async function get(socketPath: string, path = '/metrics', method = 'GET'): Promise<{ status: number; text: string }> {
  return await new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method }, async (response) => {
      resolve({ status: response.statusCode ?? 0, text: (await response.toArray()).join('') });
    });
    asked.once('error', reject).end();
  });
}

/** Values by name and labels. */
function valuesOf(text: string): Map<string, number> {
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(samples.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

test('berth-cri tells of calls, pods, containers, plugins and logs', async () => {
  const socket = join(suite.dir, 'cri-metrics.sock');
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  await suite.cri.runtime.containerStatus({ containerId: 'nobody' }).catch(() => undefined);
  const { status, text } = await get(socket);
  expect(status).toBe(200);
  const values = valuesOf(text);
  const service = 'grpc_type="unary",grpc_service="runtime.v1.RuntimeService"';
  expect(values.get(`grpc_server_handled_total{${service},grpc_method="RunPodSandbox",grpc_code="OK"}`)).toBe(1);
  expect(values.get(`grpc_server_handled_total{${service},grpc_method="ContainerStatus",grpc_code="NotFound"}`)).toBe(
    1,
  );
  expect(values.get(`grpc_server_handling_seconds_count{${service},grpc_method="StartContainer"}`)).toBe(1);
  expect(values.get('berth_cri_sandboxes{state="ready"}')).toBe(1);
  expect(values.get('berth_cri_containers{state="running"}')).toBe(1);
  expect(values.get('berth_cri_containers{state="exited"}')).toBe(0);
  expect(
    values.get('berth_cri_cni_plugin_seconds_count{command="ADD",plugin="bridge",outcome="succeeded"}'),
  ).toBeGreaterThanOrEqual(1);
  expect(values.get('berth_cri_log_bytes_total')).toBe('one\ntwo\n'.length);
  expect(values.get('berth_cri_log_entries_total')).toBe(2);
  expect(values.get('process_resident_memory_bytes')).toBeGreaterThan(1e6);
});

test('berthd tells of records, tasks, shims, content, pulls and collections', async () => {
  const { status, text } = await get(join(suite.dir, 'core-metrics.sock'));
  expect(status).toBe(200);
  const values = valuesOf(text);
  // The pod's pause container is one, too.
  expect(values.get('berth_containers{namespace="k8s.io"}')).toBe(2);
  expect(values.get('berth_tasks{namespace="k8s.io"}')).toBe(2);
  expect(values.get('berth_shims')).toBe(2);
  expect(values.get('berth_images{namespace="k8s.io"}')).toBeGreaterThanOrEqual(1);
  expect(values.get('berth_snapshots{snapshotter="overlayfs",kind="active"}')).toBeGreaterThanOrEqual(2);
  expect(values.get('berth_content_blobs')).toBeGreaterThanOrEqual(3);
  expect(values.get('berth_content_bytes')).toBeGreaterThan(1000);
  expect(values.get('berth_pull_seconds_count{outcome="succeeded"}')).toBe(0);
  expect(values.get('berth_gc_deleted_total{type="blobs"}')).toBeGreaterThanOrEqual(0);
  const tasks = 'grpc_type="unary",grpc_service="containerd.services.tasks.v1.Tasks"';
  expect(values.get(`grpc_server_handled_total{${tasks},grpc_method="Start",grpc_code="OK"}`)).toBe(2);
});

test('each name has a help text and a type, and other paths and methods are refused', async () => {
  for (const name of ['cri', 'core']) {
    const socket = join(suite.dir, `${name}-metrics.sock`);
    const { text } = await get(socket);
    const named = new Set([...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, family]) => family));
    for (const [, family] of text.matchAll(/^# TYPE (\S+) (?:counter|gauge|histogram|summary)$/gm)) {
      expect(named).toContain(family);
    }
    expect((await get(socket, '/')).status).toBe(404);
    expect((await get(socket, '/metrics', 'POST')).status).toBe(405);
  }
});

test('the socket goes with the daemon', async () => {
  const socket = join(suite.dir, 'cri-metrics.sock');
  await suite.berth.cri.stop();
  expect(existsSync(socket)).toBe(false);
  await suite.berth.cri.start();
  expect((await get(socket)).status).toBe(200);
  await suite.cri.image.imageStatus({ image: { image: busybox } }, { waitForReady: true });
});
