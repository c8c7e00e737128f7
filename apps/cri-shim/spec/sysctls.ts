import { BerthError } from '#common/errors.ts';

/** Sysctls of the IPC namespace that don't start with `fs.mqueue.`. */
const ipcSysctls = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
]);

/** Sysctls of the UTS namespace. */
const utsSysctls = new Set(['kernel.domainname']);

/**
 * Checks a pod's sysctls: each must belong to a namespace that the pod has for itself, and neither a name nor a value
 * may smuggle in a second setting (CVE-2022-0811).
 *
 * @throws invalid_argument naming the sysctl.
 */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  shared: { readonly hostNetwork: boolean; readonly hostIpc: boolean },
): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [given, value] of Object.entries(sysctls)) {
    const name = given.includes('/') && !given.includes('.') ? given.replaceAll('/', '.') : given;
    const refuse = (why: string) => new BerthError('invalid_argument', `sysctl ${JSON.stringify(given)} ${why}`);
    if (!/^[a-z0-9_-]+([./][a-zA-Z0-9_-]+)+$/.test(name)) throw refuse('is not a valid name');
    if (/[+\n\r\0]/.test(value)) throw refuse('has a value with a separator in it');
    if (name.startsWith('net.')) {
      if (shared.hostNetwork) throw refuse("can't be set: the pod shares the host's network namespace");
    } else if (ipcSysctls.has(name) || name.startsWith('fs.mqueue.')) {
      if (shared.hostIpc) throw refuse("can't be set: the pod shares the host's IPC namespace");
    } else if (utsSysctls.has(name)) {
      if (shared.hostNetwork) throw refuse("can't be set: the pod shares the host's UTS namespace");
    } else {
      throw refuse("can't be set for one pod: it belongs to no namespace");
    }
    checked[name] = value;
  }
  return checked;
}
