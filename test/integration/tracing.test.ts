import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { install } from '#common/tracing/tracing.ts';
import { useCri } from '../support/cri-suite.ts';
import { type Span, TraceCollector } from '../support/trace-collector.ts';
import { waitFor } from '../support/wait-for.ts';

const collector = await TraceCollector.start();
const settings = () => ({ tracing: { endpoint: collector.endpoint } });
const suite = useCri(settings, settings);

afterAll(async () => {
  await collector[Symbol.asyncDispose]();
});

/** The span that calls of this process come from. */
const caller = randomBytes(8).toString('hex');

/** Makes calls of this process belong to a trace, as the kubelet's do. */
async function within<T>(sampled: boolean, run: () => Promise<T>): Promise<{ traceId: string; result: T }> {
  const traceId = randomBytes(16).toString('hex');
  const traceparent = `00-${traceId}-${caller}-0${sampled ? 1 : 0}`;
  using _ = install({
    called: (_method, call) => call({ traceparent }),
    served: (_method, _header, serve) => serve(),
    step: (_name, _attributes, step) => step(),
  });
  return { traceId, result: await run() };
}

const ofTrace = (traceId: string): Span[] => collector.spans.filter((span) => span.traceId === traceId);

/** From the outermost span to one of the given name. */
function pathTo(spans: readonly Span[], name: RegExp): string[] {
  const path: Span[] = [];
  for (let span = spans.find((each) => name.test(each.name)); span !== undefined; ) {
    path.unshift(span);
    const { parentId } = span;
    span = spans.find(({ id }) => id === parentId);
  }
  return path.map((span) => `${span.service} ${span.name}`);
}

let pod: string;
let trace: string;
beforeAll(async () => {
  const { traceId, result } = await within(true, () => suite.runPod(suite.podConfig()));
  trace = traceId;
  pod = result;
});

test('a trace goes from the caller over berth-cri and berthd to the shim, and names network plugins', async () => {
  await waitFor('the spans', () => ofTrace(trace).some(({ name }) => /RunPodSandbox$/.test(name)), 30_000);
  await waitFor('those of berthd', () => ofTrace(trace).some(({ name }) => /Task\/Start$/.test(name)), 30_000);
  const spans = ofTrace(trace);
  expect(pathTo(spans, /Task\/Create$/)).toEqual([
    'berth-cri runtime.v1.RuntimeService/RunPodSandbox',
    'berth-cri containerd.services.tasks.v1.Tasks/Create',
    'berthd containerd.services.tasks.v1.Tasks/Create',
    expect.stringMatching(/^berthd containerd\.task\.v\d\.Task\/Create$/),
  ]);
  expect(pathTo(spans, /^CNI ADD bridge$/)).toEqual([
    'berth-cri runtime.v1.RuntimeService/RunPodSandbox',
    'berth-cri CNI ADD bridge',
  ]);
  expect(spans.find(({ name }) => /RunPodSandbox$/.test(name))).toMatchObject({ parentId: caller, failed: false });
});

test('a call that fails is noted as failed', async () => {
  const { traceId } = await within(true, async () => {
    await suite.cri.runtime.containerStatus({ containerId: 'nobody' }).catch(() => undefined);
  });
  await waitFor('the span', () => ofTrace(traceId).length > 0, 30_000);
  expect(ofTrace(traceId)).toMatchObject([{ name: 'runtime.v1.RuntimeService/ContainerStatus', failed: true }]);
});

test('calls whose caller is not sampled, or has no trace, leave none', async () => {
  const { traceId } = await within(false, () => suite.cri.runtime.podSandboxStatus({ podSandboxId: pod }));
  await suite.cri.runtime.podSandboxStatus({ podSandboxId: pod });
  const { traceId: last } = await within(true, () => suite.cri.runtime.version({}));
  await waitFor('a later span', () => ofTrace(last).length > 0, 30_000);
  expect(ofTrace(traceId)).toEqual([]);
  expect(collector.spans.filter(({ name }) => name.endsWith('/PodSandboxStatus'))).toEqual([]);
});
