import { join } from 'node:path';
import { silentLogger } from '#common/log.ts';
import type { EventPublisher } from '../../apps/core/events/events.ts';
import { openDatabase } from '../../apps/core/metadata/database.ts';
import type { Snapshotter } from '../../apps/core/snapshots/snapshotter.ts';
import { defaultSnapshotter } from '../../apps/core/snapshots/snapshotters.ts';
import { openStores, type Stores } from '../../apps/core/stores.ts';

/** An event as a test compares it. */
export interface PublishedEvent {
  readonly ns: string;
  readonly topic: string;
  readonly value: unknown;
}

export interface TestStores extends Stores {
  /** The default one. */
  readonly snapshotter: Snapshotter;
  readonly published: PublishedEvent[];
  close(): Promise<void>;
}

/** The core's stores below `dir`, with the events they publish. Opening the same directory again is a restart. */
export function testStores(dir: string): TestStores {
  const published: PublishedEvent[] = [];
  const events: EventPublisher = {
    publish: (ns, topic, _type, value) => void published.push({ ns, topic, value }),
    publishTyped: (ns, topic, _type, value) => void published.push({ ns, topic, value }),
    forward: ({ namespace, topic, event }) => void published.push({ ns: namespace, topic, value: event }),
  };
  const db = openDatabase(join(dir, 'meta.db'));
  const stores = openStores(dir, db, events, silentLogger());
  const close = async (): Promise<void> => {
    await stores.scheduler.stop();
    stores.snapshotters.close();
    await stores.recordWriter.drain();
    db.close();
  };
  return { ...stores, snapshotter: stores.snapshotters.named(defaultSnapshotter), published, close };
}
