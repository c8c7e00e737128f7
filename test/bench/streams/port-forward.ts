import { mkdirSync, writeFileSync } from 'node:fs';
import { SpdyClient } from '../../support/spdy-client.ts';
import { waitFor } from '../../support/wait-for.ts';
import { removePod, startPod } from '../pod.ts';
import { median } from '../statistics.ts';
import { inTurn, type StreamsSide } from './side.ts';

const rounds = 3;
const bytes = 64 * 1024 * 1024;
const connections = 50;

/** Downloads from a server in a pod, and connections with little to say, each with a call and a session of its own. */
export async function measurePortForward(sides: readonly StreamsSide[]): Promise<void> {
  const targets = [];
  for (const side of sides) targets.push(await prepare(side));
  await inTurn(targets, rounds, async ({ side, fetchPath, rates, cpu }) => {
    const before = side.runtime.cpu.runtimeMs();
    const begin = performance.now();
    await fetchPath('/big', bytes);
    rates.push(bytes / 1e6 / ((performance.now() - begin) / 1000));
    cpu.push((side.runtime.cpu.runtimeMs() - before) / 1000 / (bytes / 1e9));
  });
  await inTurn(targets, rounds, async ({ side, fetchPath, times, connectionCpu }) => {
    const before = side.runtime.cpu.runtimeMs();
    for (let index = 0; index < connections; index++) {
      const begin = performance.now();
      await fetchPath('/small', 1);
      times.push(performance.now() - begin);
    }
    connectionCpu.push((side.runtime.cpu.runtimeMs() - before) / connections);
  });
  for (const { side, pod, rates, cpu, times, connectionCpu } of targets) {
    side.figures.add('port forward, MB/s', median(rates));
    side.figures.add('port forward, s of CPU per GB', median(cpu));
    side.figures.add('port forward, one connection, ms', median(times));
    side.figures.add('port forward, one connection, ms of CPU', median(connectionCpu));
    await removePod(side.runtime, pod);
  }
}

async function prepare(side: StreamsSide) {
  const { runtime, dir } = side;
  mkdirSync(`${dir}/www`, { recursive: true });
  writeFileSync(`${dir}/www/big`, Buffer.alloc(bytes, 'berth'));
  writeFileSync(`${dir}/www/small`, 'x');
  const pod = await startPod(runtime, dir, 'forward', {
    command: ['httpd', '-f', '-p', '8080', '-h', '/www'],
    mounts: [{ containerPath: '/www', hostPath: `${dir}/www`, readonly: true }],
  });
  const fetchPath = async (path: string, size: number): Promise<void> => {
    const { url } = await runtime.cri.runtime.portForward({ podSandboxId: pod.sandboxId, port: [8080] });
    const client = await SpdyClient.connect(url, ['portforward.k8s.io']);
    try {
      const headers = { port: '8080', requestID: '0' };
      const error = await client.open({ streamType: 'error', ...headers });
      const data = await client.open({ streamType: 'data', ...headers });
      data.write(`GET ${path} HTTP/1.0\r\n\r\n`);
      // Some servers leave their half of a stream open, so its end isn't waited for unless too little comes.
      await Promise.race([data.atLeast(size), data.ended]);
      if (data.length < size) throw new Error(`${runtime.name}: ${data.length} bytes of ${path}: ${error.sofar}`);
    } finally {
      client.destroy();
    }
  };
  await waitFor('the server in the pod', () =>
    fetchPath('/small', 1).then(
      () => true,
      () => false,
    ),
  );
  const numbers = (): number[] => [];
  return { side, pod, fetchPath, rates: numbers(), cpu: numbers(), times: numbers(), connectionCpu: numbers() };
}
