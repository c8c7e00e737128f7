import type { Command } from 'commander';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatAge, formatLabels, formatSize } from '../output/format.ts';
import { write } from '../output/write.ts';
import { type Act, advised, type Session } from '../session.ts';

const advice = { not_found: 'see "berth content list"' };

/** `berth content …` */
export function contentVerbs(program: Command, act: Act): void {
  const group = program.command('content').description('blobs by digest: manifests, configurations, layers');

  group
    .command('list [filters...]')
    .alias('ls')
    .description("show blobs; filters in containerd's syntax")
    .action((filters: string[]) => act((session) => list(session, filters)));

  group
    .command('get <digest>')
    .description('write the bytes of a blob to standard output')
    .action((digest: string) =>
      act(async (session) => {
        await advised(copyOut(session, digest), advice);
      }),
    );

  group
    .command('remove <digests...>')
    .alias('rm')
    .description('remove blobs, used or not')
    .action((digests: string[]) =>
      act((session) =>
        session.each('removed', digests, (digest) => advised(session.core.content.delete({ digest }, session), advice)),
      ),
    );
}

async function list(session: Session, filters: readonly string[]): Promise<void> {
  const infos = [];
  for await (const { info } of session.core.content.list({ filters: [...filters] }, session)) infos.push(...info);
  const rows = sortedBy(infos, ({ digest }) => digest).map(({ digest, size, createdAt, labels }) => ({
    digest,
    size: Number(size),
    createdAt: timeOf(createdAt),
    labels,
  }));
  session.list(rows, [
    { head: 'DIGEST', of: ({ digest }) => digest },
    { head: 'SIZE', of: ({ size }) => formatSize(size), align: 'right' },
    { head: 'AGE', of: ({ createdAt }) => formatAge(createdAt), align: 'right' },
    { head: 'LABELS', of: ({ labels }) => formatLabels(labels) },
  ]);
}

async function copyOut(session: Session, digest: string): Promise<void> {
  for await (const { data } of session.core.content.read({ digest }, session)) await write(process.stdout, data);
}
