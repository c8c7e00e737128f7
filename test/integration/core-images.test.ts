import { describe, expect, it } from 'vitest';
import type { Descriptor } from '#proto/containerd/types/Descriptor.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { digestOf } from '../support/busybox-image.ts';
import { writeBlob } from '../support/client-route.ts';

const suite = useBerthd();
const mediaType = 'application/vnd.oci.image.manifest.v1+json';
const targetOf = (text: string): Descriptor => ({ mediaType, digest: digestOf(Buffer.from(text)), size: text.length });

/** How many of the calls ended how: `ok`, or the code of the failure. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const call of await Promise.allSettled(calls)) {
    const outcome = call.status === 'fulfilled' ? 'ok' : (call.reason as { code: string }).code;
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

describe('images', () => {
  it('are created by one of those who try at once', async () => {
    const { images } = suite.clients;
    const calls = Array.from({ length: 20 }, (_, at) =>
      images.create({ image: { name: 'raced', target: targetOf(`raced ${at}`), labels: { by: String(at) } } }),
    );
    expect(await outcomes(calls)).toEqual({ ok: 1, already_exists: 19 });
    const { image } = await images.get({ name: 'raced' });
    expect(image?.target?.digest).toBe(targetOf(`raced ${image?.labels.by}`).digest);
  });

  it('keep the labels of all who change one each at once', async () => {
    const { images } = suite.clients;
    const target = targetOf('labelled');
    await images.create({ image: { name: 'labelled', target } });
    const keys = Array.from({ length: 20 }, (_, at) => `k${at}`);
    await Promise.all(
      keys.map((key) =>
        images.update({
          image: { name: 'labelled', target, labels: { [key]: 'v' } },
          updateMask: { paths: [`labels.${key}`] },
        }),
      ),
    );
    const { image } = await images.get({ name: 'labelled' });
    expect(image?.labels).toEqual(Object.fromEntries(keys.map((key) => [key, 'v'])));
  });

  it('come and go for clients that create, update and delete at once, each told what it met', async () => {
    const { images } = suite.clients;
    const image = { name: 'contested', target: targetOf('contested') };
    const calls = Array.from({ length: 60 }, (_, at) => {
      if (at % 3 === 0) return images.create({ image });
      return at % 3 === 1 ? images.update({ image }) : images.delete({ name: image.name });
    });
    const { ok = 0, already_exists: taken = 0, not_found: missing = 0 } = await outcomes(calls);
    expect(ok + taken + missing).toBe(60);
    await images.delete({ name: image.name }).catch(() => undefined);
    expect((await images.list({ filters: ['name==contested'] })).images).toEqual([]);
  });

  it('take their content with them before a synchronous deletion answers', async () => {
    const { clients } = suite;
    const data = Buffer.from(`{"of":"${suite.namespace}"}`);
    const digest = digestOf(data);
    const { lease } = await clients.leases.create({ id: 'held' });
    await writeBlob(clients, { digest, size: data.length, data }, {}, { lease: lease?.id });
    const target = { mediaType, digest, size: data.length };
    for (const name of ['first', 'second']) await clients.images.create({ image: { name, target } });
    await clients.leases.delete({ id: 'held', sync: true });
    const other = targetOf('other');
    await expect(clients.images.delete({ name: 'first', target: other })).rejects.toMatchObject({ code: 'not_found' });
    await clients.images.delete({ name: 'first', target, sync: true });
    await clients.content.info({ digest });
    await clients.images.delete({ name: 'second', sync: true });
    await expect(clients.content.info({ digest })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('are refused without a name, a target, or what a target is made of', async () => {
    const { images } = suite.clients;
    const target = targetOf('refused');
    const bad = [
      { name: '', target },
      { name: 'bad', target: null },
      { name: 'bad', target: { ...target, size: 0 } },
      { name: 'bad', target: { ...target, size: -1 } },
      { name: 'bad', target: { ...target, mediaType: '' } },
      { name: 'bad', target: { ...target, digest: 'sha256:short' } },
      { name: 'bad', target, labels: { ['k'.repeat(2049)]: 'v'.repeat(2048) } },
    ];
    for (const image of [null, ...bad]) {
      await expect(images.create({ image })).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    await expect(images.update({ image: null })).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(images.update({ image: { name: 'none', target } })).rejects.toMatchObject({ code: 'not_found' });
    await images.create({ image: { name: 'masked', target } });
    for (const paths of [['name'], ['target.size'], ['unknown']]) {
      await expect(images.update({ image: { name: 'masked', target }, updateMask: { paths } })).rejects.toMatchObject({
        code: 'invalid_argument',
      });
    }
    expect((await images.list({ filters: ['name==bad'] })).images).toEqual([]);
  });
});
