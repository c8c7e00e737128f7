import { type Manifest, mediaTypes } from '#common/oci/image.ts';
import { architecture } from '#common/oci/image-archive.ts';
import { normalizeReference } from '#common/reference.ts';
import type { Session } from '../session.ts';
import type { PlatformChoice } from '../verbs/arguments.ts';
import { findImage, readDocument } from './image-content.ts';
import type { ProgressMessage } from './progress-stream.ts';
import { pack, resolverOf, transfer } from './transfer.ts';
import { drawTransfer } from './transfer-view.ts';

export interface PullOptions {
  readonly snapshotter: string;
  /** Keep the content only. */
  readonly unpack: boolean;
  readonly platform?: PlatformChoice;
  readonly plainHttp?: true;
}

/** `berth images pull`: with a bar per layer on a terminal, else with a line at the end. */
export async function pullImage(session: Session, reference: string, options: PullOptions): Promise<void> {
  const name = normalizeReference(reference);
  const pull = (onMessage?: (message: ProgressMessage) => void) => transferFrom(session, name, options, onMessage);
  if (!session.draws) await pull();
  else {
    await drawTransfer({
      title: `Pull ${name}`,
      finalEvents: options.unpack ? ['extracted'] : ['complete', 'already exists'],
      layers: async (digest, size) => {
        const { layers } = await readDocument<Manifest>(session, { mediaType: mediaTypes.ociManifest, digest, size });
        return layers.map((layer) => layer.digest);
      },
      transfer: pull,
    });
  }
  const { target } = await findImage(session, name);
  session.print(() => `pulled ${name} ${target.digest}`, { pulled: name, ...target });
}

function transferFrom(
  session: Session,
  name: string,
  options: PullOptions,
  onMessage?: (message: ProgressMessage) => void,
): Promise<void> {
  const platform = options.platform ?? { os: 'linux', architecture: architecture() };
  const unpacks = options.unpack ? [{ platform, snapshotter: options.snapshotter }] : [];
  const source = pack('containerd.types.transfer.OCIRegistry', { reference: name, resolver: resolverOf(options) });
  const destination = pack('containerd.types.transfer.ImageStore', { name, platforms: [platform], unpacks });
  return transfer(session, source, destination, onMessage);
}
