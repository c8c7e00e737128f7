import { type Client, connect } from '#common/grpc/client.ts';
import type { ImageServiceDefinition, ImageServiceHandlers } from '#proto/runtime/v1/ImageService.ts';
import type { RuntimeServiceDefinition, RuntimeServiceHandlers } from '#proto/runtime/v1/RuntimeService.ts';

export interface CriClients extends Disposable {
  readonly runtime: Client<RuntimeServiceHandlers, RuntimeServiceDefinition>;
  readonly image: Client<ImageServiceHandlers, ImageServiceDefinition>;
}

/** Clients of the CRI on a socket: of berth-cri, or of another runtime to compare with. */
export function criClients(socket: string): CriClients {
  const channel = connect(socket);
  return {
    runtime: channel.client('runtime.v1.RuntimeService'),
    image: channel.client('runtime.v1.ImageService'),
    [Symbol.dispose]: () => channel.close(),
  };
}
