import type { Item__Output } from '#proto/berth/services/store/v1/Item.ts';
import { formatSize } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { advised, type Session } from '../session.ts';

interface Explained extends Omit<Item__Output, 'bytes'> {
  readonly bytes: number;
}

/** More owners of one thing than this are only counted in the table. */
const shownOwners = 2;

/** `berth gc --explain`: everything below berthd's root directory, over all namespaces, and who needs it. */
export async function explainDisk(session: Session): Promise<void> {
  const items = (await advised(readItems(session), { unimplemented: 'only berthd can tell, no other containerd' }))
    .map((item) => ({ ...item, bytes: Number(item.bytes) }))
    .sort((a, b) => b.bytes - a.bytes);
  const total = sum(items);
  session.print(
    () => {
      const table = formatTable(items, [
        { head: 'KIND', of: ({ kind }) => kind },
        { head: 'SIZE', of: ({ bytes }) => formatSize(bytes), align: 'right' },
        { head: 'NAMESPACE', of: ({ namespaces }) => namespaces.join(',') || '-' },
        { head: 'ID', of: ({ id }) => id },
        { head: 'OWNERS', of: ownersText },
      ]);
      const unowned = sum(items.filter(({ owners }) => owners.length === 0));
      return `${table}\n${formatSize(total)} in ${items.length} items; ${formatSize(unowned)} of it nobody needs`;
    },
    { total, items },
  );
}

async function readItems(session: Session): Promise<Item__Output[]> {
  const all: Item__Output[] = [];
  for await (const { items } of session.core.store.explain({}, session)) all.push(...items);
  return all;
}

function ownersText({ owners }: Explained): string {
  if (owners.length === 0) return 'nobody';
  const names = owners.slice(0, shownOwners).map(({ kind, id }) => `${kind} ${id}`);
  const more = owners.length - names.length;
  return names.join(', ') + (more > 0 ? `, ${more} more` : '');
}

function sum(items: readonly Explained[]): number {
  return items.reduce((bytes, item) => bytes + item.bytes, 0);
}
