import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '#common/native/index.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let stores: TestStores;
beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

const digestOf = (data: Uint8Array): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;
const ingests = (): string[] => readdirSync(join(dir, 'content/ingest'));

async function put(ns: string, data: Uint8Array, lease?: string): Promise<string> {
  await using writer = await stores.content.writer(ns, { ref: `put-${digestOf(data)}`, lease });
  await writer.write(data);
  return await writer.commit({ labels: { a: '1' }, lease });
}

async function restart(): Promise<void> {
  await stores.close();
  stores = testStores(dir);
}

describe('the content store', () => {
  it('keeps a blob under its digest, read-only, with size, labels and times', async () => {
    const data = randomBytes(100_000);
    const digest = await put('n', data);
    expect(digest).toBe(digestOf(data));
    expect(stores.content.info('n', digest)).toMatchObject({ digest, size: data.length, labels: { a: '1' } });
    expect(readFileSync(stores.content.pathOf(digest))).toEqual(data);
    expect(statSync(stores.content.pathOf(digest)).mode & 0o777).toBe(0o444);
    expect(stores.published).toContainEqual({
      ns: 'n',
      topic: '/content/create',
      value: { digest, size: data.length },
    });
    expect(ingests()).toEqual([]);
    await expect(stores.content.status('n', `put-${digest}`)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('keeps an empty blob', async () => {
    const digest = await put('n', new Uint8Array());
    expect(await stores.content.readAll('n', digest, 0)).toHaveLength(0);
  });

  it('reads any part of a blob', async () => {
    const data = randomBytes(3_000_000);
    const digest = await put('n', data);
    await using reader = await stores.content.open('n', digest);
    expect(await reader.read(1_000_000, 7)).toEqual(data.subarray(1_000_000, 1_000_007));
    expect(await reader.read(data.length - 2, 100)).toEqual(data.subarray(-2));
    expect(await reader.read(data.length + 5, 1)).toHaveLength(0);
    const pieces: Buffer[] = [];
    for await (const piece of reader.stream(10, 2_500_000)) pieces.push(piece);
    expect(Buffer.concat(pieces)).toEqual(data.subarray(10, 2_500_010));
    await expect(stores.content.readAll('n', digest, 100)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('says so when the file of a blob is gone', async () => {
    const digest = await put('n', randomBytes(10));
    rmSync(stores.content.pathOf(digest));
    await expect(stores.content.open('n', digest)).rejects.toMatchObject({ code: 'data_loss' });
  });

  it('changes labels by mask and lists by filter', async () => {
    const one = await put('n', Buffer.from('one'));
    await put('n', Buffer.from('two'));
    stores.content.update('n', one, { 'x/y.z': '2' }, ['labels.x/y.z']);
    expect(stores.content.info('n', one).labels).toEqual({ a: '1', 'x/y.z': '2' });
    expect(stores.content.list('n')).toHaveLength(2);
    expect(stores.content.list('n', ['labels."x/y.z"==2']).map(({ digest }) => digest)).toEqual([one]);
    expect(stores.content.list('n', [`digest==${one}`])).toHaveLength(1);
    expect(() => stores.content.update('n', one, {}, ['size'])).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });

  it.each(['', 'sha256:', 'sha256:../../etc/passwd', `md5:${'0'.repeat(32)}`])('refuses the digest %j', async (bad) => {
    expect(() => stores.content.info('n', bad)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(() => stores.content.pathOf(bad)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('a write', () => {
  const data = randomBytes(200_000);
  const expected = digestOf(data);

  it('goes on where it stopped, also in another daemon, and hashes what was there', async () => {
    const options = { ref: 'layer', total: data.length, expected };
    const first = await stores.content.writer('n', options);
    await first.write(data.subarray(0, 70_000));
    expect(first.status).toMatchObject({ ref: 'layer', offset: 70_000, total: data.length, expected });
    const { startedAt, updatedAt } = first.status;
    await first.close();
    await restart();
    expect(await stores.content.status('n', 'layer')).toMatchObject({ offset: 70_000, total: data.length, expected });
    await using second = await stores.content.writer('n', options);
    expect(second.offset).toBe(70_000);
    expect(second.status.startedAt.equals(startedAt)).toBe(true);
    const difference = second.status.updatedAt.since(updatedAt).total('microseconds');
    expect(Math.abs(difference)).toBeLessThan(2);
    await second.write(data.subarray(70_000));
    expect(await second.commit({ size: data.length })).toBe(expected);
  });

  it('has its ref to itself, and a second writer waits for it only when it says so', async () => {
    const first = await stores.content.writer('n', { ref: 'r' });
    await expect(stores.content.writer('n', { ref: 'r' })).rejects.toMatchObject({ code: 'unavailable' });
    await using _other = await stores.content.writer('m', { ref: 'r' });
    const waiting = stores.content.writer('n', { ref: 'r', signal: AbortSignal.timeout(10_000) });
    const impatient = new AbortController();
    const givingUp = stores.content.writer('n', { ref: 'r', signal: impatient.signal });
    impatient.abort(new Error('enough'));
    await expect(givingUp).rejects.toThrow('enough');
    await first.write(Buffer.from('x'));
    await first.close();
    await using second = await waiting;
    expect(second.offset).toBe(1);
  });

  it('can be aborted under its writer, who then commits nothing', async () => {
    await using writer = await stores.content.writer('n', { ref: 'r' });
    await writer.write(Buffer.from('something'));
    await stores.content.abort('n', 'r');
    expect(ingests()).toEqual([]);
    await expect(stores.content.writer('n', { ref: 'r' })).rejects.toMatchObject({ code: 'unavailable' });
    await writer.write(Buffer.from(' more'));
    await expect(writer.commit()).rejects.toMatchObject({ code: 'not_found' });
    expect(stores.content.list('n')).toEqual([]);
    await writer.close();
    await using next = await stores.content.writer('n', { ref: 'r' });
    expect(next.offset).toBe(0);
  });

  it('that turns out to be another blob is refused, keeps its ingest and can be aborted', async () => {
    await using writer = await stores.content.writer('n', { ref: 'r' });
    await writer.write(Buffer.from('something'));
    await expect(writer.commit({ expected })).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(writer.commit({ size: 5 })).rejects.toMatchObject({ code: 'failed_precondition' });
    await writer.close();
    expect(await stores.content.listStatuses('n', ['ref==r'])).toHaveLength(1);
    await stores.content.abort('n', 'r');
    expect(await stores.content.listStatuses('n')).toEqual([]);
    expect(ingests()).toEqual([]);
    await expect(stores.content.abort('n', 'r')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('is checked against the digest announced at its start', async () => {
    await using writer = await stores.content.writer('n', { ref: 'r', expected });
    await writer.write(Buffer.from('something'));
    await expect(writer.commit()).rejects.toThrow(/unexpected commit digest/);
  });

  it('can be cut back', async () => {
    await using writer = await stores.content.writer('n', { ref: 'r' });
    await writer.write(Buffer.from('hello world'));
    await writer.truncate(5);
    expect(writer.offset).toBe(5);
    await expect(writer.truncate(6)).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(await writer.commit()).toBe(digestOf(Buffer.from('hello')));
  });

  it('begins anew when it is begun with another total than before', async () => {
    const first = await stores.content.writer('n', { ref: 'r', total: 5 });
    await first.write(Buffer.from('12345'));
    await first.close();
    await using second = await stores.content.writer('n', { ref: 'r', total: 6 });
    expect(second.status).toMatchObject({ offset: 0, total: 6 });
  });

  it('is at its end at once when another namespace has what is expected, whatever was written before', async () => {
    const data = Buffer.from('shared');
    await put('m', data);
    const first = await stores.content.writer('n', { ref: 'r', total: 100 });
    await first.write(Buffer.from('something else'));
    await first.close();
    const second = await stores.content.writer('n', { ref: 'r', expected: digestOf(data) });
    expect(second.offset).toBe(data.length);
    expect(await second.commit()).toBe(digestOf(data));
    expect(ingests()).toEqual([]);
  });

  it('is not bound by the digest that an earlier writer expected', async () => {
    await (await stores.content.writer('n', { ref: 'r', expected: digestOf(Buffer.from('other')) })).close();
    const second = await stores.content.writer('n', { ref: 'r' });
    await second.write(Buffer.from('data'));
    expect(await second.commit()).toBe(digestOf(Buffer.from('data')));
  });

  it('is unnecessary for a blob that the namespace has: it joins the lease', async () => {
    await put('n', data);
    stores.leases.create('n', 'l');
    await expect(stores.content.writer('n', { ref: 'r', expected, lease: 'l' })).rejects.toMatchObject({
      code: 'already_exists',
    });
    expect(stores.leases.resources('n', 'l')).toEqual([{ type: 'content', id: expected }]);
    expect(await stores.content.listStatuses('n')).toEqual([]);
  });

  it('of a blob that came in meanwhile ends with already_exists, and nothing is left of it', async () => {
    await using writer = await stores.content.writer('n', { ref: 'r' });
    await writer.write(data);
    await put('n', data);
    await expect(writer.commit()).rejects.toMatchObject({ code: 'already_exists' });
    expect(ingests()).toEqual([]);
    expect(await stores.content.listStatuses('n')).toEqual([]);
  });

  it('of a blob that another namespace has needs no bytes, and has its own labels', async () => {
    await put('n', data);
    await using writer = await stores.content.writer('m', { ref: 'r', expected, total: data.length });
    expect(writer.status).toMatchObject({ offset: data.length, total: data.length });
    expect(writer.digest()).toBe(expected);
    await writer.commit({ labels: { mine: 'yes' } });
    expect(stores.content.info('m', expected).labels).toEqual({ mine: 'yes' });
    expect(stores.content.info('n', expected).labels).toEqual({ a: '1' });
    stores.content.delete('n', expected);
    await stores.content.readAll('m', expected, data.length);
  });

  it('over a blob of another namespace may become something else', async () => {
    await put('n', data);
    await using writer = await stores.content.writer('m', { ref: 'r', expected });
    await writer.truncate(10);
    await writer.write(Buffer.from('!'));
    const changed = Buffer.concat([data.subarray(0, 10), Buffer.from('!')]);
    expect(await writer.commit({ expected: digestOf(changed) })).toBe(digestOf(changed));
    expect(await stores.content.readAll('n', expected, data.length)).toEqual(data);
  });

  it('moves from ingest to content in its lease', async () => {
    stores.leases.create('n', 'l');
    await using writer = await stores.content.writer('n', { ref: 'r', lease: 'l' });
    expect(stores.leases.resources('n', 'l')).toEqual([{ type: 'ingests', id: 'r' }]);
    await writer.write(data);
    await writer.commit({ lease: 'l' });
    expect(stores.leases.resources('n', 'l')).toEqual([{ type: 'content', id: expected }]);
  });

  it('finds its bytes in place after a death between the rename and the record', async () => {
    const options = { ref: 'r', expected, total: data.length };
    const writer = await stores.content.writer('n', options);
    await writer.write(data);
    await writer.close();
    renameSync(join(dir, 'content/ingest', ingests()[0] ?? ''), stores.content.pathOf(expected));
    await restart();
    await stores.collector.collect();
    await using again = await stores.content.writer('n', options);
    expect(again.offset).toBe(data.length);
    await again.commit();
    expect(await stores.content.readAll('n', expected, data.length)).toEqual(data);
  });

  it('that the disk has no room for fails, keeps what fitted, and goes on once there is room', async () => {
    const small = join(dir, 'small');
    mkdirSync(small);
    native.mount('tmpfs', small, 'tmpfs', 0, 'size=4m');
    const full = testStores(small);
    try {
      await using writer = await full.content.writer('n', { ref: 'r' });
      await writer.write(Buffer.alloc(1_000_000, 'a'));
      await expect(writer.write(Buffer.alloc(8_000_000, 'b'))).rejects.toMatchObject({ code: 'resource_exhausted' });
      expect(writer.offset).toBe(1_000_000);
      await writer.write(Buffer.from('end'));
      const whole = Buffer.concat([Buffer.alloc(1_000_000, 'a'), Buffer.from('end')]);
      expect(await writer.commit()).toBe(digestOf(whole));
    } finally {
      await full.close();
    }
  });

  it('needs a ref, and a digest of the kind that is kept', async () => {
    await expect(stores.content.writer('n', { ref: '' })).rejects.toMatchObject({ code: 'invalid_argument' });
    const sha512 = `sha512:${'0'.repeat(128)}`;
    await expect(stores.content.writer('n', { ref: 'r', expected: sha512 })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    expect(existsSync(stores.content.pathOf(expected))).toBe(false);
  });
});
