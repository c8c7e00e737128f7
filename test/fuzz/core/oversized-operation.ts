import * as grpc from '@grpc/grpc-js';
import { BerthError } from '#common/errors.ts';
import { codeOfStatus } from '#common/grpc-status.ts';
import { type Operations, operation } from './operation.ts';
import type { Side } from './side.ts';

const bytes = Buffer.alloc(20 << 20);

export const oversizedOperation: Operations = {
  oversized: operation(
    1,
    (random) => ({ method: random.pick(['containers.v1.Containers/Create', 'images.v1.Images/Create']) }),
    (side, { method }) => send(side, `/containerd.services.${method}`),
  ),
};

/** Sends more than a message may have, which the ordinary client refuses to do. */
async function send({ socket }: Side, path: string): Promise<void> {
  const options = { 'grpc.max_send_message_length': -1, 'grpc.use_local_subchannel_pool': 1 };
  const client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), options);
  const same = (buffer: Buffer): Buffer => buffer;
  try {
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(path, same, same, bytes, (error) => {
        if (error === null) resolve();
        else reject(new BerthError(codeOfStatus(error.code), error.details));
      });
    });
  } finally {
    client.close();
  }
}
