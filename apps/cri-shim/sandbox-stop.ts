import { BerthError } from '#common/errors.ts';
import { allSettled } from './all-settled.ts';
import { stopContainer } from './container-stop.ts';
import { podAttachment } from './pod-network.ts';
import { stuckProcess } from './process-state.ts';
import type { Runtime } from './runtime.ts';
import { updateSandbox } from './status-update.ts';
import type { Sandbox } from './store/sandbox.ts';
import { awaitExit } from './task-wait.ts';
import { now } from './time.ts';

const sigkill = 9;

/** StopPodSandbox: ends all that runs in the pod and gives its network back. An unknown pod counts as stopped. */
export async function stopSandbox(rt: Runtime, id: string): Promise<void> {
  const sandbox = rt.sandboxes.find(id);
  if (sandbox !== undefined) await stopKnownSandbox(rt, sandbox);
}

/** Does nothing for what is done already, so that a call that failed half-way can be made again. */
export async function stopKnownSandbox(rt: Runtime, sandbox: Sandbox): Promise<void> {
  const containers = rt.containers.values().filter(({ metadata }) => metadata.sandboxId === sandbox.id);
  await allSettled(containers.map((container) => stopContainer(rt, container, 0)));
  if (sandbox.status.releasedAt === undefined) {
    await rt.nri.told('StopPodSandbox', rt.nri.podEvent('StopPodSandbox', sandbox));
  }
  await rt.queue.run(sandbox.id, () => allSettled([endPause(rt, sandbox), release(rt, sandbox)]));
}

async function endPause(rt: Runtime, sandbox: Sandbox): Promise<void> {
  const { id, pid } = sandbox;
  if (pid === 0) return;
  await rt.core.killTask(id, sigkill);
  if (await awaitExit(rt, sandbox)) return;
  throw new BerthError('deadline_exceeded', `pod sandbox ${id} doesn't end after SIGKILL: ${stuckProcess(pid)}`);
}

/** Network first: its addresses are the scarce thing. The namespace stays pinned until plugins have left it. */
async function release(rt: Runtime, sandbox: Sandbox): Promise<void> {
  if (sandbox.status.releasedAt !== undefined) return;
  const attachment = podAttachment(sandbox.metadata);
  if (attachment !== undefined) {
    await rt.network.detach(attachment);
    rt.files.removeNetns(sandbox.id);
  }
  await rt.files.removeShm(sandbox.id);
  await updateSandbox(rt, sandbox, { releasedAt: now() });
}
