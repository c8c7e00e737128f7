import { encode, type MessageName } from '#common/wire/codec.ts';
import type { Any } from '#proto/google/protobuf/Any.ts';
import type { WireTypes } from '#proto/wire.ts';
import { advised, type Session } from '../session.ts';
import { openProgress, type ProgressMessage } from './progress-stream.ts';

/** Lets the daemon move an image from one place to another; `onMessage` hears how it gets on. */
export async function transfer(
  session: Session,
  source: Any,
  destination: Any,
  onMessage: (message: ProgressMessage) => void = () => undefined,
): Promise<void> {
  await using progress = await openProgress(session, onMessage);
  const request = { source, destination, options: { progressStream: progress.id } };
  await advised(session.core.transfer.transfer(request, session), {
    unauthenticated: "give its credentials in the registry's hosts.toml",
  });
}

/** An end of a transfer as the daemon takes it. */
export function pack<M extends MessageName>(type: M, value: WireTypes[M]['in']): Any {
  return { type_url: type, value: Buffer.from(encode(type, value)) };
}

/** How a registry is spoken to, where that differs from what its configuration says. */
export function resolverOf({ plainHttp = false }: { readonly plainHttp?: boolean }): { defaultScheme: string } | null {
  return plainHttp ? { defaultScheme: 'http' } : null;
}
