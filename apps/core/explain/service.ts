import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Item as WireItem } from '#proto/berth/services/store/v1/Item.ts';
import type { StoreHandlers } from '#proto/berth/services/store/v1/Store.ts';
import type { Database } from '../metadata/database.ts';
import { explain } from './explain.ts';
import type { Item } from './item.ts';

const itemsPerMessage = 100;

/** `berth.services.store.v1.Store`: about the whole of `root`, whatever the namespace of the call. */
export function storeService(db: Database, root: string, log: Logger): Service {
  return implement<StoreHandlers>(
    serviceDefinition('berth.services.store.v1.Store'),
    {
      async *explain() {
        let items: WireItem[] = [];
        for await (const item of explain(db, root)) {
          items.push(toWire(item));
          if (items.length < itemsPerMessage) continue;
          yield { items };
          items = [];
        }
        yield { items };
      },
    },
    { log },
  );
}

function toWire({ kind, namespaces, id, bytes, owners }: Item): WireItem {
  const named = owners.map((owner) => ({ kind: owner.kind, namespace: owner.ns, id: owner.id }));
  return { kind, namespaces: [...namespaces], id, bytes: String(bytes), owners: named };
}
