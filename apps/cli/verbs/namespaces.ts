import type { Command } from 'commander';
import { sortedBy } from '../output/facts.ts';
import { formatLabels } from '../output/format.ts';
import { type Act, advised } from '../session.ts';
import { labelOption } from './arguments.ts';

/** `berth namespaces …` */
export function namespaceVerbs(program: Command, act: Act): void {
  const group = program.command('namespaces').alias('ns').description('the name spaces that everything else is in');

  group
    .command('list')
    .alias('ls')
    .description('show all')
    .action(() =>
      act(async (session) => {
        const { namespaces } = await session.core.namespaces.list({}, session);
        const rows = sortedBy(namespaces, ({ name }) => name).map(({ name, labels }) => ({ name, labels }));
        session.list(rows, [
          { head: 'NAME', of: ({ name }) => name },
          { head: 'LABELS', of: ({ labels }) => formatLabels(labels) },
        ]);
      }),
    );

  group
    .command('create <name>')
    .description('make one')
    .addOption(labelOption())
    .action((name: string, { label }: { label: Record<string, string> }) =>
      act(async (session) => {
        await session.each('created', [name], () =>
          session.core.namespaces.create({ namespace: { name, labels: label } }, session),
        );
      }),
    );

  group
    .command('remove <names...>')
    .alias('rm')
    .description('remove empty ones')
    .action((names: string[]) =>
      act(async (session) => {
        await session.each('removed', names, (name) =>
          advised(session.core.namespaces.delete({ name }, session), { not_found: 'see "berth namespaces list"' }),
        );
      }),
    );
}
