import { randomUUID } from 'node:crypto';
import { BerthError } from '#common/errors.ts';
import type { Bidi, CallOptions, Channel, Client } from '#common/grpc/client.ts';
import { architecture } from '#common/oci/image-archive.ts';
import { formatReference, type Reference } from '#common/reference.ts';
import { decode, encode } from '#common/wire/codec.ts';
import type { StreamingDefinition, StreamingHandlers } from '#proto/containerd/services/streaming/v1/Streaming.ts';
import type { TransferDefinition, TransferHandlers } from '#proto/containerd/services/transfer/v1/Transfer.ts';
import type { Any, Any__Output } from '#proto/google/protobuf/Any.ts';
import type { WireTypes } from '#proto/wire.ts';
import { restartPatienceMs } from '../core-client/restart-patience.ts';
import type { PullCredentials } from './image-service.ts';
import { authAnswer } from './registry-auth.ts';

export interface PullTask {
  readonly reference: Reference;
  readonly credentials?: PullCredentials | undefined;
  /** Labels of the image record. */
  readonly labels: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface PullerOptions {
  readonly channel: Channel;
  readonly snapshotter: string;
  /** Folder of the registries' `hosts.toml` files, as berthd sees it. */
  readonly hostsDirectory: string;
}

/** Has berthd pull and unpack images: no layer passes through here. */
export class ImagePuller {
  readonly #options: PullerOptions;
  readonly #streaming: Client<StreamingHandlers, StreamingDefinition>;
  readonly #transfer: Client<TransferHandlers, TransferDefinition>;

  constructor(options: PullerOptions) {
    this.#options = options;
    this.#streaming = options.channel.client('containerd.services.streaming.v1.Streaming');
    this.#transfer = options.channel.client('containerd.services.transfer.v1.Transfer');
  }

  /** Resolves when the image is in the store under its reference, and unpacked. */
  async pull(task: PullTask): Promise<void> {
    const name = formatReference(task.reference);
    const over = new AbortController();
    const call = { signal: AbortSignal.any([over.signal, task.signal]) };
    try {
      await this.#options.channel.waitReady(restartPatienceMs);
      const authStream = task.credentials === undefined ? '' : await this.#offerCredentials(task, call);
      await this.#transfer.transfer(
        {
          source: pack('containerd.types.transfer.OCIRegistry', {
            reference: name,
            resolver: { authStream, hostDir: this.#options.hostsDirectory },
          }),
          destination: this.#destination(name, task.labels),
        },
        call,
      );
    } catch (error) {
      throw BerthError.from(error, `pull ${name}`);
    } finally {
      over.abort();
    }
  }

  #destination(name: string, labels: Readonly<Record<string, string>>): Any {
    const platform = { os: 'linux', architecture: architecture() };
    return pack('containerd.types.transfer.ImageStore', {
      name,
      labels: { ...labels },
      platforms: [platform],
      unpacks: [{ platform, snapshotter: this.#options.snapshotter }],
    });
  }

  /** Opens a stream on which berthd asks for credentials; answers its name. */
  async #offerCredentials(task: PullTask, call: CallOptions): Promise<string> {
    const id = `cri-credentials-${randomUUID()}`;
    const stream = this.#streaming.stream(call);
    const questions = stream[Symbol.asyncIterator]();
    await stream.send(pack('containerd.services.streaming.v1.StreamInit', { id }));
    // The first answer says that berthd knows the stream by its name.
    await questions.next();
    answerQuestions(stream, questions, task).catch(() => {
      // The pull fails by itself, and knows why.
    });
    return id;
  }
}

async function answerQuestions(
  stream: Bidi<Any, unknown>,
  questions: AsyncIterator<Any__Output>,
  { credentials, reference }: PullTask,
): Promise<void> {
  for (let next = await questions.next(); !next.done; next = await questions.next()) {
    const { host } = decode('containerd.types.transfer.AuthRequest', next.value.value);
    await stream.send(pack('containerd.types.transfer.AuthResponse', authAnswer(credentials, host, reference.domain)));
  }
}

function pack<M extends keyof WireTypes>(type: M, value: WireTypes[M]['in']): Any {
  return { type_url: type, value: Buffer.from(encode(type, value)) };
}
