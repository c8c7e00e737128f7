import { decode, encode, type MessageName } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import type { CoreClients } from './core-clients.ts';

type Store = WireTypes['containerd.types.transfer.ImageStore']['in'];
type Resolver = WireTypes['containerd.types.transfer.RegistryResolver']['in'];

export interface TransferWishes {
  readonly store?: Store;
  readonly unpack?: boolean;
  readonly signal?: AbortSignal;
  readonly lease?: string;
  /** Bytes of an archive after which the client sends nothing more, and doesn't say so. */
  readonly stallAt?: number;
  /** Whether plain layers of an archive are to be compressed. */
  readonly forceCompress?: boolean;
}

export type ExportWishes = WireTypes['containerd.types.transfer.ImageExportStream']['in'] & {
  readonly signal?: AbortSignal;
  /** Bytes that the client takes; then it doesn't let the daemon send any more. */
  readonly window?: number;
};

/** What the progress stream told: event and object, in order. */
export type Told = readonly (readonly [string, string])[];

/** Pulls as a containerd client does over the transfer service; answers what the progress stream told. */
export async function pull(
  clients: CoreClients,
  reference: string,
  wishes: TransferWishes & { readonly resolver?: Resolver } = {},
): Promise<Told> {
  const source = pack('containerd.types.transfer.OCIRegistry', { reference, resolver: wishes.resolver ?? null });
  return transfer(clients, source, reference, wishes);
}

/** Pushes an image as a containerd client does; answers what the progress stream told. */
export async function push(
  clients: CoreClients,
  name: string,
  reference: string,
  wishes: Pick<TransferWishes, 'store' | 'signal'> & { readonly resolver?: Resolver } = {},
): Promise<Told> {
  const source = pack('containerd.types.transfer.ImageStore', { name, ...wishes.store });
  const destination = pack('containerd.types.transfer.OCIRegistry', { reference, resolver: wishes.resolver ?? null });
  return transferBetween(clients, source, destination, wishes);
}

/** Imports an archive over a stream, in pieces as the window allows. */
export async function importArchive(
  clients: CoreClients,
  archive: Buffer,
  name: string,
  wishes: TransferWishes = {},
): Promise<Told> {
  const stream = streamId('import');
  const sending = sendBytes(clients, stream, archive, wishes.stallAt ?? Number.POSITIVE_INFINITY);
  await sending.ready;
  const { forceCompress = false } = wishes;
  const source = pack('containerd.types.transfer.ImageImportStream', { stream, forceCompress });
  return transfer(clients, source, name, wishes);
}

/** Exports images into an archive. */
export async function exportArchive(clients: CoreClients, store: Store, options: ExportWishes = {}): Promise<Buffer> {
  const stream = streamId('export');
  const received = receiveAll(await openStream(clients, stream, options.signal), options.window);
  const source = pack('containerd.types.transfer.ImageStore', store);
  const destination = pack('containerd.types.transfer.ImageExportStream', { ...options, stream });
  const [bytes] = await Promise.all([received, clients.transfer.transfer({ source, destination })]);
  return bytes;
}

/** Sends bytes over one stream and has the daemon send them back over another. */
export async function echoBytes(clients: CoreClients, bytes: Buffer): Promise<Buffer> {
  const [to, from] = [streamId('import'), streamId('export')];
  await sendBytes(clients, to, bytes, Number.POSITIVE_INFINITY).ready;
  const back = receiveAll(await openStream(clients, from));
  const source = pack('containerd.types.transfer.ImageImportStream', { stream: to });
  const destination = pack('containerd.types.transfer.ImageExportStream', { stream: from });
  await clients.transfer.transfer({ source, destination });
  return await back;
}

/** A stream for lines about what is said to a registry. */
export async function openLog(clients: CoreClients): Promise<{ readonly id: string; readonly text: Promise<string> }> {
  const id = streamId('log');
  return { id, text: receiveAll(await openStream(clients, id)).then(String) };
}

/** Takes what the daemon sends over a stream, with a window as containerd's client has it. */
async function receiveAll(
  stream: Awaited<ReturnType<typeof openStream>>,
  limit = Number.POSITIVE_INFINITY,
): Promise<Buffer> {
  const received: Buffer[] = [];
  await stream.send(pack('containerd.types.transfer.WindowUpdate', { update: Math.min(limit, 64 * 1024) }));
  for await (const { value } of stream) {
    const { data } = decode('containerd.types.transfer.Data', value as Buffer);
    received.push(Buffer.from(data));
    if (limit === Number.POSITIVE_INFINITY) {
      await stream.send(pack('containerd.types.transfer.WindowUpdate', { update: data.length }));
    }
  }
  return Buffer.concat(received);
}

/** A stream that answers requests for credentials. */
export async function serveCredentials(clients: CoreClients, username: string, secret: string) {
  const id = streamId('creds');
  const stream = await openStream(clients, id);
  const asked: string[] = [];
  const served = (async () => {
    for await (const { value } of stream) {
      asked.push(decode('containerd.types.transfer.AuthRequest', value as Buffer).host);
      await stream.send(pack('containerd.types.transfer.AuthResponse', { authType: 'CREDENTIALS', username, secret }));
    }
  })();
  return {
    id,
    asked,
    /** The daemon ends the stream with the transfer. */
    [Symbol.asyncDispose]: () => served,
  };
}

async function transfer(
  clients: CoreClients,
  source: Packed,
  name: string,
  { store = {}, unpack = true, signal, lease }: TransferWishes,
): Promise<Told> {
  const unpacks = unpack ? [{ platform: null, snapshotter: 'overlayfs' }] : [];
  const destination = pack('containerd.types.transfer.ImageStore', { name, unpacks, ...store });
  return transferBetween(clients, source, destination, { signal, lease });
}

async function transferBetween(
  clients: CoreClients,
  source: Packed,
  destination: Packed,
  { signal, lease }: { readonly signal?: AbortSignal | undefined; readonly lease?: string | undefined },
): Promise<Told> {
  const progressStream = streamId('progress');
  const leave = new AbortController();
  const stream = await openStream(clients, progressStream, leave.signal);
  const told: (readonly [string, string])[] = [];
  const listening = (async () => {
    for await (const { value } of stream) {
      const { event, name } = decode('containerd.types.transfer.Progress', value as Buffer);
      told.push([event, name]);
    }
  })();
  try {
    await clients.transfer.transfer({ source, destination, options: { progressStream } }, { signal, lease });
  } catch (error) {
    leave.abort();
    throw error;
  } finally {
    await listening.catch(() => undefined);
  }
  return told;
}

function sendBytes(
  clients: CoreClients,
  id: string,
  bytes: Buffer,
  stallAt: number,
): { readonly ready: Promise<void> } {
  const opened = openStream(clients, id);
  void opened
    .then(async (stream) => {
      let window = 0;
      let sent = 0;
      for await (const { value } of stream) {
        window += decode('containerd.types.transfer.WindowUpdate', value as Buffer).update;
        while (window > 0 && sent < Math.min(bytes.length, stallAt)) {
          const data = bytes.subarray(sent, sent + Math.min(window, 32 * 1024));
          sent += data.length;
          window -= data.length;
          await stream.send(pack('containerd.types.transfer.Data', { data }));
        }
        if (sent === bytes.length) stream.end();
      }
    })
    .catch(() => undefined);
  return { ready: opened.then(() => undefined) };
}

/** Resolves once the daemon knows the stream. */
async function openStream(clients: CoreClients, id: string, signal?: AbortSignal) {
  const stream = clients.streaming.stream({ signal });
  await stream.send(pack('containerd.services.streaming.v1.StreamInit', { id }));
  const answers = stream[Symbol.asyncIterator]();
  await answers.next();
  return {
    send: stream.send.bind(stream),
    end: stream.end.bind(stream),
    [Symbol.asyncIterator]: () => answers,
  };
}

type Packed = { readonly type_url: string; readonly value: Buffer };

export function pack<M extends MessageName>(type: M, value: WireTypes[M]['in']): Packed {
  return { type_url: type, value: Buffer.from(encode(type, value)) };
}

let streams = 0;

function streamId(what: string): string {
  return `${what}-${process.pid}-${++streams}`;
}
