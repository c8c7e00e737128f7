import type { Command } from 'commander';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatAge, formatSpan } from '../output/format.ts';
import { type Act, advised, type Session } from '../session.ts';

/** containerd's label for the time at which a lease ends by itself (docs/garbage-collection.md). */
const expireLabel = 'containerd.io/gc.expire';

/** `berth leases …` */
export function leaseVerbs(program: Command, act: Act): void {
  const group = program.command('leases').alias('lease').description('what keeps resources from being collected');

  group
    .command('list [filters...]')
    .alias('ls')
    .description("show leases; filters in containerd's syntax")
    .action((filters: string[]) => act((session) => list(session, filters)));

  group
    .command('remove <ids...>')
    .alias('rm')
    .description('end leases; what nothing else uses is collected')
    .option('--sync', 'wait until it has been collected')
    .action((ids: string[], { sync = false }: { sync?: boolean }) =>
      act((session) =>
        session.each('removed', ids, (id) =>
          advised(session.core.leases.delete({ id, sync }, session), { not_found: 'see "berth leases list"' }),
        ),
      ),
    );
}

async function list(session: Session, filters: readonly string[]): Promise<void> {
  const { leases } = await session.core.leases.list({ filters: [...filters] }, session);
  const rows = await Promise.all(
    sortedBy(leases, ({ id }) => id).map(async (lease) => {
      const { resources } = await session.core.leases.listResources({ id: lease.id }, session);
      return {
        id: lease.id,
        createdAt: timeOf(lease.createdAt),
        expiresAt: lease.labels[expireLabel] ?? null,
        resources: resources.map(({ id, type }) => ({ type, id })),
        labels: lease.labels,
      };
    }),
  );
  session.list(rows, [
    { head: 'ID', of: ({ id }) => id },
    { head: 'AGE', of: ({ createdAt }) => formatAge(createdAt), align: 'right' },
    { head: 'EXPIRES IN', of: ({ expiresAt }) => expiry(expiresAt), align: 'right' },
    { head: 'RESOURCES', of: ({ resources }) => String(resources.length), align: 'right' },
  ]);
}

function expiry(time: string | null): string {
  const left = Date.parse(time ?? '') - Date.now();
  return Number.isNaN(left) ? 'never' : formatSpan(left);
}
