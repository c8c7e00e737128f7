import { BerthError } from '#common/errors.ts';
import { decode } from '#common/wire/codec.ts';
import type { Any__Output } from '#proto/google/protobuf/Any.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatSize } from '../output/format.ts';
import type { Session } from '../session.ts';

const nsPerSecond = 1e9;
const nsPerMicrosecond = 1e3;
/** Above this a limit is none: cgroup v1 tells the largest number of pages, v2 the largest of 64 bits. */
const noLimit = 2 ** 62;

/** The figures that both versions of cgroups have; null where the task's cgroup doesn't tell. */
interface Figures {
  readonly cpuSeconds: number | null;
  readonly memory: number | null;
  readonly memoryLimit: number | null;
  readonly processes: number | null;
}

/** `berth tasks metrics`: what tasks use; in JSON with all that the daemon tells. */
export async function showMetrics(session: Session, ids: readonly string[]): Promise<void> {
  const { core } = session;
  const { metrics } = await core.tasks.metrics({ filters: ids.map((id) => `id==${JSON.stringify(id)}`) }, session);
  for (const id of ids) {
    if (metrics.some((metric) => metric.id === id)) continue;
    throw new BerthError('not_found', `task "${id}" not found, or it has ended; see "berth tasks list"`);
  }
  const rows = sortedBy(metrics, ({ id }) => id).map(({ id, timestamp, data }) => {
    const all = data === null ? null : decoded(data);
    return { id, time: timeOf(timestamp), ...figures(data, all), type: data?.type_url ?? '', all };
  });
  session.list(rows, [
    { head: 'ID', of: ({ id }) => id },
    { head: 'CPU', of: ({ cpuSeconds }) => orDash(cpuSeconds, (seconds) => `${seconds.toFixed(2)}s`), align: 'right' },
    { head: 'MEMORY', of: ({ memory }) => orDash(memory, formatSize), align: 'right' },
    { head: 'LIMIT', of: ({ memoryLimit }) => orDash(memoryLimit, formatSize), align: 'right' },
    { head: 'PROCESSES', of: ({ processes }) => orDash(processes, String), align: 'right' },
  ]);
}

const v1 = 'io.containerd.cgroups.v1.Metrics';
const v2 = 'io.containerd.cgroups.v2.Metrics';

function decoded({ type_url, value }: Any__Output): unknown {
  if (type_url.endsWith(v1)) return decode(v1, value);
  return type_url.endsWith(v2) ? decode(v2, value) : value.toString('base64');
}

function figures(data: Any__Output | null, all: unknown): Figures {
  if (data?.type_url.endsWith(v1)) {
    const { cpu, memory, pids } = all as ReturnType<typeof decode<typeof v1>>;
    return {
      cpuSeconds: scaled(cpu?.usage?.total, nsPerSecond),
      memory: scaled(memory?.usage?.usage),
      memoryLimit: limit(memory?.usage?.limit),
      processes: scaled(pids?.current),
    };
  }
  if (data?.type_url.endsWith(v2)) {
    const { cpu, memory, pids } = all as ReturnType<typeof decode<typeof v2>>;
    return {
      cpuSeconds: scaled(cpu?.usageUsec, nsPerSecond / nsPerMicrosecond),
      memory: scaled(memory?.usage),
      memoryLimit: limit(memory?.usageLimit),
      processes: scaled(pids?.current),
    };
  }
  return { cpuSeconds: null, memory: null, memoryLimit: null, processes: null };
}

type Wide = string | number | bigint | undefined | null;

function scaled(value: Wide, unit = 1): number | null {
  return value === undefined || value === null ? null : Number(value) / unit;
}

function limit(value: Wide): number | null {
  const bytes = scaled(value);
  return bytes === null || bytes === 0 || bytes > noLimit ? null : bytes;
}

function orDash(value: number | null, format: (value: number) => string): string {
  return value === null ? '-' : format(value);
}
