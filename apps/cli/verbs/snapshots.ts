import type { Command } from 'commander';
import type { Mount__Output } from '#proto/containerd/types/Mount.ts';
import { sortedBy, timeOf } from '../output/facts.ts';
import { formatAge, formatSize, shortDigest } from '../output/format.ts';
import { type Act, advised, type Session } from '../session.ts';
import { snapshotterOption } from './arguments.ts';

interface Choice {
  readonly snapshotter: string;
}

const advice = { not_found: 'see "berth snapshots list"' };

/** `berth snapshots …` */
export function snapshotVerbs(program: Command, act: Act): void {
  const group = program.command('snapshots').alias('snapshot').description('layers and root file systems on disk');

  group
    .command('list [filters...]')
    .alias('ls')
    .description("show snapshots; filters in containerd's syntax")
    .addOption(snapshotterOption())
    .action((filters: string[], { snapshotter }: Choice) => act((session) => list(session, snapshotter, filters)));

  group
    .command('usage [keys...]')
    .description('show what snapshots take up on disk, without their parents')
    .addOption(snapshotterOption())
    .action((keys: string[], { snapshotter }: Choice) => act((session) => usage(session, snapshotter, keys)));

  group
    .command('mounts <key>')
    .description('show how a writable snapshot or a view is mounted, as commands for a shell')
    .option('--target <directory>', 'where to', '/mnt')
    .addOption(snapshotterOption())
    .action((key: string, { snapshotter, target }: Choice & { target: string }) =>
      act(async (session) => {
        const { mounts } = await advised(session.core.snapshots.mounts({ snapshotter, key }, session), {
          ...advice,
          failed_precondition: 'only writable snapshots and views are mounted',
        });
        session.print(() => mounts.map((mount) => mountCommand(mount, target)).join('\n'), mounts);
      }),
    );

  group
    .command('remove <keys...>')
    .alias('rm')
    .description('remove snapshots that no other builds on')
    .addOption(snapshotterOption())
    .action((keys: string[], { snapshotter }: Choice) =>
      act((session) =>
        session.each('removed', keys, (key) =>
          advised(session.core.snapshots.remove({ snapshotter, key }, session), {
            ...advice,
            failed_precondition: 'remove those that build on it first',
          }),
        ),
      ),
    );
}

function mountCommand({ type, source, options }: Mount__Output, target: string): string {
  const words = ['mount', '-t', type, source, target, '-o', options.join(',')];
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}

async function infosOf(session: Session, snapshotter: string, filters: readonly string[] = []) {
  const infos = [];
  for await (const { info } of session.core.snapshots.list({ snapshotter, filters: [...filters] }, session)) {
    infos.push(...info);
  }
  return sortedBy(infos, ({ name }) => name);
}

async function list(session: Session, snapshotter: string, filters: readonly string[]): Promise<void> {
  const infos = await infosOf(session, snapshotter, filters);
  const rows = infos.map(({ name, parent, kind, createdAt, labels }) => ({
    key: name,
    parent: parent === '' ? null : parent,
    kind: kind.toLowerCase(),
    createdAt: timeOf(createdAt),
    labels,
  }));
  session.list(rows, [
    { head: 'KEY', of: ({ key }) => key },
    { head: 'PARENT', of: ({ parent }) => (parent === null ? '-' : shortDigest(parent)) },
    { head: 'KIND', of: ({ kind }) => kind },
    { head: 'AGE', of: ({ createdAt }) => formatAge(createdAt), align: 'right' },
  ]);
}

async function usage(session: Session, snapshotter: string, keys: readonly string[]): Promise<void> {
  const chosen = keys.length > 0 ? keys : (await infosOf(session, snapshotter)).map(({ name }) => name);
  const rows = [];
  for (const key of chosen) {
    const { size, inodes } = await advised(session.core.snapshots.usage({ snapshotter, key }, session), advice);
    rows.push({ key, size: Number(size), inodes: Number(inodes) });
  }
  session.list(rows, [
    { head: 'KEY', of: ({ key }) => key },
    { head: 'SIZE', of: ({ size }) => formatSize(size), align: 'right' },
    { head: 'INODES', of: ({ inodes }) => String(inodes), align: 'right' },
  ]);
}
