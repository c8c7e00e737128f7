/**
 * `npm run soak -- portforward`: connections to a server in a pod, 8 at a time, every second one ended by a client that
 * vanishes. Afterwards both daemons are as large as after the 3,000 that came before, and nothing is left. `--rounds` is the number
 * of connections, 10,000 unless it is given.
 */
import { forEachAtOnce } from '../support/at-once.ts';
import { patient } from '../support/cri-suite.ts';
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { SpdyClient } from '../support/spdy-client.ts';
import { waitFor } from '../support/wait-for.ts';
import { soakBed } from './cri-bed.ts';
import { expectFlat } from './flat.ts';
import type { SoakOptions } from './main.ts';

const width = 8;
const warmUp = 3_000;
const tellEvery = 1_000;

export async function portForwardSoak({ rounds = 10_000, handler, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed(handler);
  const script = 'mkdir /www; echo from-the-pod >/www/page; exec httpd -f -p 127.0.0.1:8080 -h /www';
  const { podSandboxId } = await bed.start('target', { command: ['sh', '-c', script] });
  let connections = 0;
  const connect = async (): Promise<void> => {
    const n = ++connections;
    if (n % tellEvery === 0) tell(`${n} connections`);
    const { url } = await bed.cri.runtime.portForward({ podSandboxId, port: [8080] }, patient);
    const client = await SpdyClient.connect(url, ['portforward.k8s.io']);
    const headers = { port: '8080', requestID: '0' };
    const error = await client.open({ streamType: 'error', ...headers });
    const data = await client.open({ streamType: 'data', ...headers });
    if (n % 2 === 0) {
      data.write('GET /page HTTP/1.0\r\n\r\n', true);
      const [page, failure] = [await data.all(), await error.all()];
      if (failure !== '' || !page.endsWith('from-the-pod\n')) {
        throw new Error(`connection ${n}: ${JSON.stringify(page)}, ${JSON.stringify(failure)}`);
      }
    } else data.write('GET /pa');
    client.destroy();
  };
  await waitFor('the server in the pod', () =>
    connect().then(
      () => connections % 2 === 0,
      () => false,
    ),
  );
  const before = leakSnapshot(bed.scope);
  const work = async (count: number) => void (await forEachAtOnce(count, width, connect));
  await expectFlat(bed, { warmUp, count: rounds, work, tell });
  await expectNoLeaks(bed.scope, before);
  await bed.removeAll();
}
