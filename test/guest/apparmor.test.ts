import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { LinuxContainerSecurityContext } from '#proto/runtime/v1/LinuxContainerSecurityContext.ts';
import { useCri } from '../support/cri-suite.ts';

const suite = useCri();

/** Loads and takes away AppArmor profiles. */
function parser(args: readonly string[], input: string): void {
  execFileSync('apparmor_parser', args, { input });
}

const ownProfile = `profile guests-own flags=(attach_disconnected) {
  file,
  signal,
  deny /etc/passwd r,
}
`;

/** Runs a container with this security until its command has ended. */
async function run(script: string, securityContext: LinuxContainerSecurityContext, privileged = false) {
  const pod = suite.podConfig();
  pod.linux = { ...pod.linux, securityContext: { privileged } };
  const podId = await suite.runPod(pod);
  const config = suite.containerConfig('main', script, {
    linux: { securityContext: { ...securityContext, privileged } },
  });
  const id = await suite.start(podId, pod, config);
  const { exitCode } = await suite.exited(id);
  const log = suite.log(pod, 'main');
  await suite.removePod(podId);
  return { exitCode, log };
}

const shown = 'cat /proc/self/attr/current';
const runtimeDefault = { apparmor: { profileType: 'RuntimeDefault' } } as const;

it('confines a container that asks for nothing, and one that asks for RuntimeDefault', async () => {
  for (const security of [{}, runtimeDefault]) {
    expect(await run(shown, security)).toMatchObject({ exitCode: 0, log: ['berth-default (enforce)'] });
  }
});

it('keeps a container that may mount from doing so, and from writing where the kernel is set', async () => {
  const capabilities = { addCapabilities: ['SYS_ADMIN'] };
  const script =
    'mount -t tmpfs none /tmp || echo "mount is refused"; echo 1 > /proc/sys/vm/compact_memory || echo "so is this"';
  const { log } = await run(script, { capabilities, seccomp: { profileType: 'Unconfined' }, readonlyPaths: [] });
  expect(log).toContain('mount is refused');
  expect(log).toContain('so is this');
  const free = await run(script, {
    capabilities,
    seccomp: { profileType: 'Unconfined' },
    apparmor: { profileType: 'Unconfined' },
  });
  expect(free.log).not.toContain('mount is refused');
});

it('leaves unconfined what asks for it, and what is privileged', async () => {
  expect((await run(shown, { apparmor: { profileType: 'Unconfined' } })).log).toEqual(['unconfined']);
  expect((await run(shown, {}, true)).log).toEqual(['unconfined']);
});

it('takes a profile of the node’s, and refuses one that isn’t loaded', async () => {
  const localhost = { apparmor: { profileType: 'Localhost', localhostRef: 'guests-own' } } as const;
  await expect(run(shown, localhost)).rejects.toThrow(/"guests-own".*has not loaded it/);
  parser(['--replace'], ownProfile);
  const { exitCode, log } = await run(`${shown}; cat /etc/passwd`, localhost);
  expect(log[0]).toBe('guests-own (enforce)');
  expect(exitCode).not.toBe(0);
  parser(['--remove'], ownProfile);
});

it('loads the default profile again when it was taken away', async () => {
  parser(['--remove'], 'profile berth-default { }\n');
  expect(readFileSync('/sys/kernel/security/apparmor/profiles', 'utf8')).not.toContain('berth-default');
  expect((await run(shown, {})).log).toEqual(['berth-default (enforce)']);
});

it('lets a confined container be asked to end, and run commands that are confined as it is', async () => {
  const pod = suite.podConfig();
  const podId = await suite.runPod(pod);
  const config = suite.containerConfig('main', 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done');
  const containerId = await suite.start(podId, pod, config);
  await suite.logged(pod, 'main', 'up');
  expect(await suite.exec(containerId, 'cat', '/proc/self/attr/current')).toBe('berth-default (enforce)\n');
  await suite.cri.runtime.stopContainer({ containerId, timeout: 60 });
  expect((await suite.status(containerId)).exitCode).toBe(7);
  await suite.removePod(podId);
});
