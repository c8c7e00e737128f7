import type { Command } from 'commander';
import { decode, type MessageName } from '#common/wire/codec.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import { messages } from '#proto/wire.ts';
import { timeOf } from '../output/facts.ts';
import { printable } from '../output/format.ts';
import { write } from '../output/write.ts';
import type { Act, Session } from '../session.ts';

/** `berth events` */
export function eventVerb(program: Command, act: Act): void {
  program
    .command('events [filters...]')
    .description("show what happens, until Ctrl-C: of all namespaces unless --namespace is given; containerd's filters")
    .action((filters: string[]) => {
      const chosen = program.getOptionValueSource('namespace') === 'cli';
      return act(async (session) => {
        try {
          await follow(session, chosen ? inNamespace(filters, session.namespace) : filters);
        } catch (error) {
          // Ctrl-C is how this verb ends.
          if (!session.signal.aborted) throw error;
        }
      });
    });
}

/** An event passes if one filter matches; within a filter all conditions must. */
export function inNamespace(filters: readonly string[], namespace: string): string[] {
  const condition = `namespace==${JSON.stringify(namespace)}`;
  return filters.length === 0 ? [condition] : filters.map((filter) => `${filter},${condition}`);
}

/** One event per line; with --json one object per line. */
async function follow({ core, json, signal }: Session, filters: readonly string[]): Promise<void> {
  for await (const envelope of core.events.subscribe({ filters: [...filters] }, { signal })) {
    const facts = eventFacts(envelope);
    const { time, namespace, topic, event } = facts;
    const text = () => `${time} ${printable(`${namespace} ${topic} ${JSON.stringify(event)}`)}`;
    await write(process.stdout, `${json ? JSON.stringify(facts) : text()}\n`);
  }
}

/** An event with its payload decoded where its type is known, else in base64. */
export function eventFacts({ timestamp, namespace, topic, event }: Envelope__Output) {
  const type = event?.type_url ?? '';
  return { time: timeOf(timestamp), namespace, topic, type, event: payload(type, event?.value ?? Buffer.alloc(0)) };
}

function payload(type: string, value: Buffer): unknown {
  if (!Object.hasOwn(messages, type)) return value.toString('base64');
  try {
    return decode(type as MessageName, value);
  } catch {
    return value.toString('base64');
  }
}
