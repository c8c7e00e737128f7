import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Item as WireItem } from '#proto/berth/services/store/v1/Item.ts';
import type { StoreHandlers } from '#proto/berth/services/store/v1/Store.ts';
import type { Database } from '../metadata/database.ts';
import { explain } from './explain.ts';
import type { Item } from './item.ts';
import { type VerifyParts, verify } from './verify.ts';

const itemsPerMessage = 100;

export interface StoreServiceParts {
  readonly db: Database;
  readonly root: string;
  readonly verification: VerifyParts;
  readonly log: Logger;
}

/** `berth.services.store.v1.Store`: what is on disk, and whether it is sound. */
export function storeService({ db, root, verification, log }: StoreServiceParts): Service {
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
      async *verify({ images, repair }, { namespace, signal }) {
        for await (const one of verify(verification, { ns: namespace, names: images, repair, signal })) {
          yield { ...one, bytes: String(one.bytes), images: [...one.images] };
        }
      },
    },
    { log },
  );
}

function toWire({ kind, namespaces, id, bytes, owners }: Item): WireItem {
  const named = owners.map((owner) => ({ kind: owner.kind, namespace: owner.ns, id: owner.id }));
  return { kind, namespaces: [...namespaces], id, bytes: String(bytes), owners: named };
}
