import { createHash, randomBytes } from 'node:crypto';
import { type Figures, timed } from './figures.ts';
import type { BenchSide } from './side.ts';

const mib = 1 << 20;
/** Size of a blob in MiB, and how many of it. */
const blobs = [
  [1, 20],
  [10, 5],
  [100, 2],
] as const;

/** Blobs in messages of a mebibyte, as containerd's client sends them. */
export async function measureContent(side: BenchSide, figures: Figures): Promise<void> {
  const { content, leases } = side.clients;
  await leases.create({ id: 'content' });
  for (const [size, count] of blobs) {
    const datas = Array.from({ length: count }, () => randomBytes(size * mib));
    const digests = datas.map((data) => `sha256:${createHash('sha256').update(data).digest('hex')}`);
    const rate = async (what: string, work: (index: number) => Promise<unknown>): Promise<void> => {
      const cpu = side.cpu.usedMs();
      const ms = await timed(async () => {
        for (let index = 0; index < count; index++) await work(index);
      });
      figures.add(`content: ${what} ${size} MiB, ms of CPU per MiB`, (side.cpu.usedMs() - cpu) / (size * count));
      figures.add(`content: ${what} ${size} MiB, MiB/s`, (size * count * 1000) / ms);
    };
    await rate('write', (index) => write(side, datas[index] as Buffer, digests[index] as string));
    await rate('read', async (index) => {
      for await (const _ of content.read({ digest: digests[index] as string }));
    });
    for (const digest of digests) await content.delete({ digest });
  }
  await leases.delete({ id: 'content', sync: true });
}

async function write({ clients }: BenchSide, data: Buffer, digest: string): Promise<void> {
  const call = clients.content.write({ lease: 'content' });
  const answers = call[Symbol.asyncIterator]();
  const base = { ref: digest, total: data.length, expected: digest };
  for (let offset = 0; offset < data.length; offset += mib) {
    await call.send({ ...base, action: 'WRITE', offset, data: data.subarray(offset, offset + mib) });
    await answers.next();
  }
  await call.send({ ...base, action: 'COMMIT', offset: data.length });
  await answers.next();
  call.end();
}
