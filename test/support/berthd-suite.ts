import { afterAll, afterEach, beforeAll } from 'vitest';
import { type Berthd, startBerthd } from './berthd.ts';
import { removeCgroups } from './cgroups.ts';
import type { CoreClients } from './core-clients.ts';
import { removeScratch, scratchDir } from './scratch.ts';

export interface BerthdSuite {
  readonly dir: string;
  /** containerd namespace of the suite: no other test on the machine has it. */
  readonly namespace: string;
  readonly berthd: Berthd;
  readonly clients: CoreClients;
}

/**
 * Gives the tests of a file a berthd of their own. The values are there once the tests run. A test that fails shows
 * the end of the daemon's log.
 */
export function useBerthd(options: { config?: (dir: string) => string } = {}): BerthdSuite {
  const suite = {} as { -readonly [K in keyof BerthdSuite]: BerthdSuite[K] };
  beforeAll(async () => {
    suite.dir = scratchDir();
    suite.namespace = suite.dir.slice(suite.dir.lastIndexOf('/') + 1).toLowerCase();
    const config = options.config?.(suite.dir);
    suite.berthd = await startBerthd({ dir: suite.dir, ...(config === undefined ? {} : { config }) });
    suite.clients = suite.berthd.clients(suite.namespace);
    await suite.clients.namespaces.create({ namespace: { name: suite.namespace } });
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(suite.berthd.daemon.logTail());
  });
  afterAll(async () => {
    suite.clients?.[Symbol.dispose]();
    await suite.berthd?.daemon.stop();
    removeScratch(suite.dir);
    removeCgroups(suite.namespace);
  });
  return suite;
}
