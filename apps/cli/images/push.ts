import { normalizeReference } from '#common/reference.ts';
import type { Session } from '../session.ts';
import type { PlatformChoice } from '../verbs/arguments.ts';
import { findImage, manifestOf } from './image-content.ts';
import { pack, resolverOf, transfer } from './transfer.ts';
import { drawTransfer } from './transfer-view.ts';

export interface PushOptions {
  /** That one only; all that the image has unless given. */
  readonly platform?: PlatformChoice;
  readonly plainHttp?: true;
}

/** `berth images push`: to where its name says, or to another reference. */
export async function pushImage(
  session: Session,
  image: string,
  reference: string | undefined,
  options: PushOptions,
): Promise<void> {
  const found = await findImage(session, image);
  const to = normalizeReference(reference ?? found.name);
  const platforms = options.platform === undefined ? [] : [options.platform];
  const source = pack('containerd.types.transfer.ImageStore', { name: found.name, platforms });
  const destination = pack('containerd.types.transfer.OCIRegistry', { reference: to, resolver: resolverOf(options) });
  if (!session.draws) await transfer(session, source, destination);
  else {
    const { manifest } = await manifestOf(session, found);
    await drawTransfer({
      title: `Push ${to}`,
      finalEvents: ['complete', 'already exists'],
      layers: manifest.layers.map(({ digest }) => digest),
      transfer: (onMessage) => transfer(session, source, destination, onMessage),
    });
  }
  session.print(() => `pushed ${to} ${found.target.digest}`, { pushed: to, ...found.target });
}
