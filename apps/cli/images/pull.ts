import { type Manifest, mediaTypes } from '#common/oci/image.ts';
import { architecture } from '#common/oci/image-archive.ts';
import { normalizeReference } from '#common/reference.ts';
import { encode, type MessageName } from '#common/wire/codec.ts';
import type { Any } from '#proto/google/protobuf/Any.ts';
import type { WireTypes } from '#proto/wire.ts';
import { advised, type Session } from '../session.ts';
import type { PlatformChoice } from '../verbs/arguments.ts';
import { findImage, readDocument } from './image-content.ts';
import { openProgress, type ProgressMessage } from './progress-stream.ts';
import { drawPull } from './pull-view.ts';

export interface PullOptions {
  readonly snapshotter: string;
  /** Keep the content only. */
  readonly unpack: boolean;
  readonly platform?: PlatformChoice;
  readonly plainHttp?: true;
}

type OnMessage = (message: ProgressMessage) => void;

/** `berth images pull`: with a bar per layer on a terminal, else with a line at the end. */
export async function pullImage(session: Session, reference: string, options: PullOptions): Promise<void> {
  const name = normalizeReference(reference);
  if (session.json || !process.stdout.isTTY) await transfer(session, name, options, () => undefined);
  else {
    await drawPull({
      name,
      finalEvents: options.unpack ? ['extracted'] : ['complete', 'already exists'],
      layersOf: async (digest, size) => {
        const { layers } = await readDocument<Manifest>(session, { mediaType: mediaTypes.ociManifest, digest, size });
        return layers.map((layer) => layer.digest);
      },
      pull: (onMessage) => transfer(session, name, options, onMessage),
    });
  }
  const { target } = await findImage(session, name);
  session.print(() => `pulled ${name} ${target.digest}`, { pulled: name, ...target });
}

async function transfer(session: Session, name: string, options: PullOptions, onMessage: OnMessage): Promise<void> {
  const platform = options.platform ?? { os: 'linux', architecture: architecture() };
  const unpacks = options.unpack ? [{ platform, snapshotter: options.snapshotter }] : [];
  const resolver = options.plainHttp ? { defaultScheme: 'http' } : null;
  await using progress = await openProgress(session, onMessage);
  await advised(
    session.core.transfer.transfer(
      {
        source: pack('containerd.types.transfer.OCIRegistry', { reference: name, resolver }),
        destination: pack('containerd.types.transfer.ImageStore', { name, platforms: [platform], unpacks }),
        options: { progressStream: progress.id },
      },
      session,
    ),
    { unauthenticated: "give its credentials in the registry's hosts.toml" },
  );
}

function pack<M extends MessageName>(type: M, value: WireTypes[M]['in']): Any {
  return { type_url: type, value: Buffer.from(encode(type, value)) };
}
