import { readTextIfThere } from '#common/native/files.ts';

/** Counters of one network interface since it was made; decimal. */
export interface InterfaceCounters {
  readonly name: string;
  readonly rxBytes: string;
  readonly rxPackets: string;
  readonly rxErrors: string;
  readonly rxDropped: string;
  readonly txBytes: string;
  readonly txPackets: string;
  readonly txErrors: string;
  readonly txDropped: string;
}

/** The network interfaces that a process sees, without the loopback one (proc_pid_net(5), `dev`). */
export function interfacesOf(pid: number): InterfaceCounters[] {
  const lines = (readTextIfThere(`/proc/${pid}/net/dev`) ?? '').split('\n').slice(2);
  return lines.flatMap((line) => {
    const [, name, figures] = /^\s*([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined || figures === undefined || name === 'lo') return [];
    const columns = figures.split(/\s+/);
    const column = (number: number): string => columns[number] ?? '0';
    return [
      {
        name,
        rxBytes: column(0),
        rxPackets: column(1),
        rxErrors: column(2),
        rxDropped: column(3),
        txBytes: column(8),
        txPackets: column(9),
        txErrors: column(10),
        txDropped: column(11),
      },
    ];
  });
}
