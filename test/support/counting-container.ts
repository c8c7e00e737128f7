import type { CriSuite } from './cri-suite.ts';
import { waitFor } from './wait-for.ts';

/** What it runs: it counts, into its log and into a file, so that it is seen whether it goes on. */
export const counting = 'n=0; while :; do n=$((n+1)); echo $n; echo $n > /count; sleep 0.05; done';

export interface CountingContainer {
  readonly id: string;
  readonly podId: string;
  readonly pod: ReturnType<CriSuite['podConfig']>;
}

/** Starts it in a pod of its own; resolves once it counts. */
export async function startCounting(suite: CriSuite): Promise<CountingContainer> {
  const pod = suite.podConfig();
  const podId = await suite.runPod(pod);
  const id = await suite.start(podId, pod, suite.containerConfig('main', counting));
  await suite.logged(pod, 'main', '2');
  return { id, podId, pod };
}

/** Waits until it has counted further. */
export async function goesOn(suite: CriSuite, { pod }: CountingContainer): Promise<void> {
  const lines = () => suite.log(pod, 'main').length;
  const before = lines();
  await waitFor('the container to go on', () => lines() > before + 2);
}
