import { readTextIfThere } from '#common/native/files.ts';
import type { NetworkInterfaceUsage } from '#proto/runtime/v1/NetworkInterfaceUsage.ts';

/** Counters of the network interfaces that a process sees, without the loopback one (proc_pid_net(5), `dev`). */
export function interfacesOf(pid: number): NetworkInterfaceUsage[] {
  const lines = (readTextIfThere(`/proc/${pid}/net/dev`) ?? '').split('\n').slice(2);
  return lines.flatMap((line) => {
    const [, name, figures] = /^\s*([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined || figures === undefined || name === 'lo') return [];
    const [rxBytes, , rxErrors, , , , , , txBytes, , txErrors] = figures.split(/\s+/);
    const value = (text: string | undefined) => ({ value: text ?? '0' });
    return [
      {
        name,
        rxBytes: value(rxBytes),
        rxErrors: value(rxErrors),
        txBytes: value(txBytes),
        txErrors: value(txErrors),
      },
    ];
  });
}
