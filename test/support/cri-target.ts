import { afterAll, beforeAll } from 'vitest';
import type { CriSuite } from './cri-suite.ts';

/** Ids. */
export interface Target {
  readonly pod: string;
  readonly container: string;
}

/** A pod with one container, which runs a script, for all tests of a file. The ids are there once the tests run. */
export function useTarget(suite: CriSuite, script = 'sleep 1000'): Target {
  const target = { pod: '', container: '' };
  beforeAll(async () => {
    const config = suite.podConfig();
    target.pod = await suite.runPod(config);
    target.container = await suite.start(target.pod, config, suite.containerConfig('target', script));
  });
  afterAll(async () => {
    await suite.removePod(target.pod);
  });
  return target;
}
