import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';

const suite = useCri();

it('CVE-2024-21626: no descriptor of the runtime leaks into a container or its commands', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const script = 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done';
  const container = await suite.start(id, pod, suite.containerConfig('fds', script));
  await suite.logged(pod, 'fds', 'ready');
  const { info } = await suite.cri.runtime.containerStatus({ containerId: container, verbose: true });
  expect(readdirSync(`/proc/${JSON.parse(info.info ?? '').pid}/fd`)).toEqual(['0', '1', '2']);
  // The fourth is the directory that ls reads.
  expect((await suite.exec(container, 'ls', '/proc/self/fd')).trim().split(/\s+/)).toEqual(['0', '1', '2', '3']);
  await suite.removePod(id);
});

it('CVE-2020-15257, CVE-2021-41103, CVE-2024-25621: sockets are root’s alone, and so is what is kept', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const sockets = entries(suite.dir).filter((path) => lstatSync(path).isSocket());
  expect(sockets.length).toBeGreaterThan(2);
  for (const path of sockets) expect(`${path} ${lstatSync(path).mode & 0o077}`).toBe(`${path} 0`);
  for (const name of ['root', 'root/cri', 'state', 'state/cri', 'state/cri/netns', 'state/cri/image-volumes']) {
    const path = join(suite.dir, name);
    // Others may go through a directory to what is theirs, never look into it.
    expect(`${path} ${lstatSync(path).mode & 0o066}`).toBe(`${path} 0`);
  }
  await suite.removePod(id);
});

/** What is below a directory, without images' and containers' files. */
function entries(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (!entry.isDirectory()) return [path];
    return ['snapshots', 'rootfs', 'content'].includes(entry.name) ? [] : [path, ...entries(path)];
  });
}
