import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as native from '#common/native/index.ts';
import { LayerApplier } from '../../apps/core/diff/apply.ts';
import { type CompareRequest, LayerComparer } from '../../apps/core/diff/compare.ts';
import type { Mount } from '../../apps/core/snapshots/snapshotter.ts';
import { type TestStores, testStores } from '../support/core-stores.ts';
import { describeTree, makeTree } from '../support/trees.ts';
import { waitFor } from '../support/wait-for.ts';

const PLAIN = 'application/vnd.oci.image.layer.v1.tar';
const ns = 'layers';

let dir: string;
let stores: TestStores;
let comparer: LayerComparer;
let mounted: string[];

beforeEach(() => {
  dir = fs.mkdtempSync(join(tmpdir(), 'berth-diff-'));
  stores = testStores(folder('stores'));
  comparer = new LayerComparer(stores.content, folder('cache'));
  mounted = [];
});

afterEach(async () => {
  for (const path of mounted.reverse()) native.umount(path, native.MNT.DETACH);
  await stores.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

function folder(name: string): string {
  const path = join(dir, name);
  fs.mkdirSync(path, { recursive: true });
  return path;
}

function bind(source: string): Mount[] {
  return [{ type: 'bind', source, options: ['ro', 'rbind'] }];
}

function overlay(upper: string, lowers: readonly string[], ...options: string[]): Mount[] {
  const layers = [`workdir=${folder(`${upper.slice(dir.length + 1)}-work`)}`, `upperdir=${upper}`];
  return [{ type: 'overlay', source: 'overlay', options: [...options, ...layers, `lowerdir=${lowers.join(':')}`] }];
}

/** Shows an overlay to the test itself. */
function mount([one]: readonly Mount[], name: string): string {
  const path = folder(name);
  native.mount('overlay', path, 'overlay', 0, one?.options.join(',') ?? '');
  mounted.push(path);
  return path;
}

function unmount(path: string): void {
  native.umount(path, 0);
  mounted = mounted.filter((other) => other !== path);
}

function compare(left: readonly Mount[], right: readonly Mount[], options: Partial<CompareRequest> = {}) {
  return comparer.compare({ ns, left, right, mediaType: PLAIN, ref: '', labels: {}, ...options });
}

function read(digest: string): Promise<Buffer> {
  return stores.content.readAll(ns, digest, 1 << 28);
}

/** GNU tar's view of a layer: `-rw-r--r-- 0/0 4 name`. */
async function listing(digest: string): Promise<string[]> {
  const text = execFileSync('tar', ['--numeric-owner', '-tvf', '-'], { input: await read(digest), encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/ +/g, ' ').replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /, ' '));
}

/** Applies the layer on top of the lower directory and answers what the two show. */
async function applied(digest: string, lower: string): Promise<string[]> {
  using applier = new LayerApplier();
  const mounts = overlay(folder('again'), [lower]);
  await applier.apply({ blobPath: stores.content.pathOf(digest), mediaType: PLAIN, mounts });
  return describeTree(mount(mounts, 'again-merged'));
}

function compareProcesses(): number[] {
  const list = fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  const pids = list.trim().split(' ').filter(Boolean).map(Number);
  return pids.filter((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('diff-child'));
}

/** One change of every kind in a tree that `makeTree` made. */
function change(root: string): void {
  const at = (path: string): string => join(root, path);
  fs.writeFileSync(at('etc/new'), 'new');
  fs.truncateSync(at('etc/new'), 3_000_000);
  fs.appendFileSync(at('etc/shadow'), 'user:*:\n');
  fs.rmSync(at('usr/bin/ping'));
  fs.rmSync(at('usr/lib'), { recursive: true });
  fs.mkdirSync(at('usr/lib/fresh'), { recursive: true });
  fs.rmSync(at('var/mail'), { recursive: true });
  fs.writeFileSync(at('var/mail'), 'a file now');
  fs.rmSync(at('etc/long'));
  fs.mkdirSync(at('etc/long'), { mode: 0o2750 });
  fs.rmSync(at('bin'));
  fs.symlinkSync('/sbin', at('bin'));
  fs.linkSync(at('usr/bin/su'), at('home/su-again'));
  fs.writeFileSync(Buffer.from(`${root}/home/u/na\xefve`, 'latin1'), 'latin');
  fs.rmSync(Buffer.from(`${root}/home/u/caf\xe9`, 'latin1'));
  fs.writeFileSync(at(`home/${'l'.repeat(250)}`), 'long name');
  fs.chownSync(at('tmp'), 5_000_000, 7);
  fs.chmodSync(at('tmp'), 0o1777);
  native.mknod(at('dev/big'), fs.constants.S_IFBLK | 0o600, 259, 1_000_000);
  native.mkfifo(at('dev/pipe'), 0o620);
  native.lsetxattr(at('etc/new'), 'user.note', Buffer.from('\0binary\n'), 0);
  native.lsetxattr(at('etc/shadow'), 'security.capability', Buffer.from(`0100000200${'20'.repeat(15)}`, 'hex'), 0);
  native.lutimens(at('etc/new'), 1, 1, 1_234_567_890, 987_654_321);
  native.lutimens(at('bin'), 1, 1, -5, 500_000_000);
  fs.chmodSync(at('etc/new'), 0o6711);
}

describe.each(['an upper directory', 'two trees'])('the layer made of %s', (kind) => {
  /** The lower directory as the left side names it: the very one, or one that only looks the same. */
  function left(lower: string): Mount[] {
    if (kind === 'an upper directory') return bind(lower);
    execFileSync('cp', ['-a', `${lower}/.`, folder('same')]);
    return bind(join(dir, 'same'));
  }

  it('turns the lower tree into the upper one', async () => {
    const lower = makeTree(folder('lower'));
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    change(merged);
    const expected = describeTree(merged);
    const { digest, size } = await compare(left(lower), mounts);
    expect(size).toBe((await read(digest)).length);
    expect(await applied(digest, lower)).toEqual(expected);
  });

  it('says of removed things no more than that', async () => {
    const lower = makeTree(folder('lower'));
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    fs.rmSync(join(merged, 'usr'), { recursive: true });
    fs.rmSync(join(merged, 'etc/shadow'));
    const { digest } = await compare(left(lower), mounts);
    expect(await listing(digest)).toEqual([
      'drwxr-xr-x 0/0 0 etc/',
      '---------- 0/0 0 etc/.wh.shadow',
      '---------- 0/0 0 .wh.usr',
    ]);
  });

  it('knows a file with further links by one of its names', async () => {
    const lower = folder('lower');
    for (const name of ['a', 'b']) fs.writeFileSync(join(lower, name), name);
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    fs.linkSync(join(merged, 'a'), join(merged, 'c'));
    const expected = describeTree(merged);
    const { digest } = await compare(left(lower), mounts);
    expect((await listing(digest)).map(([type]) => type)).toEqual(['-', 'h']);
    expect(await applied(digest, lower)).toEqual(expected);
  });

  it('is the same each time, and shows no later time than the one given', async () => {
    const lower = makeTree(folder('lower'));
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    change(merged);
    const notAfter = 1_234_567_891_000_000_000n;
    const before = await compare(left(lower), mounts, { notAfter, mediaType: `${PLAIN}+gzip` });
    for (const path of ['etc/shadow', 'var/mail']) fs.utimesSync(join(merged, path), 2_000_000_000, 2_000_000_000);
    expect(await compare(left(lower), mounts, { notAfter, mediaType: `${PLAIN}+gzip` })).toEqual(before);
    const out = folder('out');
    execFileSync('tar', ['-xpf', '-', '-C', out], { input: gunzipSync(await read(before.digest)) });
    const stat = (path: string) => fs.lstatSync(join(out, path), { bigint: true }).mtimeNs;
    expect([stat('etc/new'), stat('etc/shadow')]).toEqual([1_234_567_890_987_654_321n, notAfter]);
  });

  it('has no sockets, and takes away what one stands for', async () => {
    const lower = folder('lower');
    fs.writeFileSync(join(lower, 'old'), '');
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    fs.rmSync(join(merged, 'old'));
    const servers = ['old', 'new'].map((name) => createServer().listen(join(merged, name)));
    await waitFor('the sockets', () => servers.every((server) => server.listening));
    const { digest } = await compare(left(lower), mounts);
    for (const server of servers) server.close();
    expect(await listing(digest)).toEqual(['---------- 0/0 0 .wh.old']);
  });

  it('follows no symlink, and takes no file for a whiteout', async () => {
    const lower = folder('lower');
    const mounts = overlay(folder('upper'), [lower]);
    const merged = mount(mounts, 'merged');
    fs.symlinkSync('/etc', join(merged, 'etc'));
    fs.symlinkSync('../../../../etc/passwd', join(merged, 'passwd'));
    fs.writeFileSync(join(merged, '.wh.name'), '');
    fs.writeFileSync(join(merged, '.wh..wh..opq'), '');
    const { digest } = await compare(left(lower), mounts);
    expect(await listing(digest)).toEqual([
      'lrwxrwxrwx 0/0 0 etc -> /etc',
      'lrwxrwxrwx 0/0 0 passwd -> ../../../../etc/passwd',
    ]);
  });
});

describe('LayerComparer', () => {
  it('makes a layer of a whole tree that GNU tar unpacks to the same', async () => {
    const root = makeTree(folder('root'));
    const { digest } = await compare([], bind(root));
    const out = folder('out');
    execFileSync('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', '-', '-C', out], {
      input: await read(digest),
    });
    expect(describeTree(out)).toEqual(describeTree(root));
  });

  it('takes a view of nothing for nothing', async () => {
    const root = makeTree(folder('root'));
    expect(await compare(bind(folder('empty')), bind(root))).toEqual(await compare([], bind(root)));
  });

  it('makes an empty layer of what is the same', async () => {
    const root = makeTree(folder('root'));
    const { digest } = await compare(bind(root), bind(root));
    expect(await read(digest)).toEqual(Buffer.alloc(1024));
  });

  it('tells a change of data that kept size and time, where times are in seconds only', async () => {
    const [lower, upper] = [folder('lower'), folder('upper')];
    for (const [root, data] of [
      [lower, 'one'],
      [upper, 'two'],
    ] as const) {
      fs.writeFileSync(join(root, 'changed'), data);
      fs.writeFileSync(join(root, 'same'), 'same');
      for (const name of ['changed', 'same']) fs.utimesSync(join(root, name), 1000, 1000);
    }
    const { digest } = await compare(bind(lower), bind(upper));
    expect(await listing(digest)).toEqual(['-rw-r--r-- 0/0 3 changed']);
  });

  it('compares several layers at once', async () => {
    const lowers = ['base', 'middle', 'top'].map((name) => {
      fs.writeFileSync(join(folder(name), name), name);
      return join(dir, name);
    });
    const [base = '', middle = '', top = ''] = lowers;
    const right = [{ type: 'overlay', source: 'overlay', options: [`lowerdir=${top}:${middle}:${base}`] }];
    const { digest } = await compare(bind(base), right);
    expect(await listing(digest)).toEqual(['-rw-r--r-- 0/0 6 middle', '-rw-r--r-- 0/0 3 top']);
  });

  it('mounts an overlay whose upper directory refers to the ones below', async () => {
    const lower = makeTree(folder('lower'));
    const mounts = overlay(folder('upper'), [lower], 'redirect_dir=on', 'metacopy=on');
    const merged = mount(mounts, 'merged');
    fs.renameSync(join(merged, 'usr/bin'), join(merged, 'usr/sbin'));
    fs.chmodSync(join(merged, 'etc/shadow'), 0o604);
    const expected = describeTree(merged);
    unmount(merged);
    // Whoever asks need not know how the directory came to be.
    const plain = overlay(join(dir, 'upper'), [lower], 'metacopy=on');
    expect(await applied((await compare(bind(lower), plain)).digest, lower)).toEqual(expected);
  });

  it.each([
    ['application/vnd.oci.image.layer.v1.tar', (data: Buffer) => data],
    ['application/vnd.oci.image.layer.v1.tar+gzip', gunzipSync],
    ['application/vnd.oci.image.layer.v1.tar+zstd', zstdDecompressSync],
    ['application/vnd.docker.image.rootfs.diff.tar', (data: Buffer) => data],
    ['application/vnd.docker.image.rootfs.diff.tar.gzip', gunzipSync],
    ['application/vnd.docker.image.rootfs.diff.tar.zstd', zstdDecompressSync],
  ])('makes layers of type %s', async (mediaType, decompress) => {
    fs.writeFileSync(join(folder('root'), 'file'), 'x'.repeat(1_000_000));
    const made = await compare([], bind(join(dir, 'root')), { mediaType, labels: { mine: 'yes' } });
    const blob = await read(made.digest);
    expect(made).toEqual({ mediaType, digest: sha256(blob), size: blob.length });
    const archive = decompress(blob);
    expect(execFileSync('tar', ['-t'], { input: archive, encoding: 'utf8' })).toBe('file\n');
    const uncompressed = archive === blob ? {} : { 'containerd.io/uncompressed': sha256(archive) };
    expect(stores.content.info(ns, made.digest).labels).toEqual({ mine: 'yes', ...uncompressed });
  });

  it('makes a gzip layer unless told otherwise, and no others', async () => {
    const made = await compare([], bind(folder('root')), { mediaType: '' });
    expect(made.mediaType).toBe(`${PLAIN}+gzip`);
    await expect(compare([], [], { mediaType: 'text/plain' })).rejects.toMatchObject({ code: 'unimplemented' });
    await expect(compare([], [], { mediaType: `${PLAIN}+encrypted` })).rejects.toMatchObject({ code: 'unimplemented' });
  });

  it('answers a layer that is there already, and labels it where nobody has', async () => {
    fs.writeFileSync(join(folder('root'), 'file'), 'data');
    const options = { mediaType: `${PLAIN}+gzip` };
    const first = await compare([], bind(join(dir, 'root')), options);
    const label = 'containerd.io/uncompressed';
    const { labels } = stores.content.info(ns, first.digest);
    stores.content.update(ns, first.digest, {}, [`labels.${label}`]);
    expect(await compare([], bind(join(dir, 'root')), options)).toEqual(first);
    expect(stores.content.info(ns, first.digest).labels).toEqual(labels);
    expect(await stores.content.listStatuses(ns)).toEqual([]);
  });

  it('begins a ref anew, whatever an earlier writer left in it', async () => {
    const writer = await stores.content.writer(ns, { ref: 'mine' });
    await writer.write(Buffer.from('rubbish'));
    await writer.close();
    const { digest } = await compare([], bind(makeTree(folder('root'))), { ref: 'mine' });
    expect((await listing(digest)).length).toBeGreaterThan(10);
    expect(await stores.content.listStatuses(ns)).toEqual([]);
  });

  it('says what it can’t mount', async () => {
    const nothing = [{ type: 'bind', source: join(dir, 'nothing'), options: ['rbind'] }];
    await expect(compare(bind(folder('root')), nothing)).rejects.toThrow(/nothing/);
    await expect(compare([], nothing)).rejects.toThrow(/nothing/);
    expect(await stores.content.listStatuses(ns)).toEqual([]);
  });

  describe('while a layer is being made', () => {
    /** A file whose end never comes. */
    function begin(signal?: AbortSignal) {
      fs.closeSync(fs.openSync(join(folder('root'), 'endless'), 'w'));
      fs.truncateSync(join(dir, 'root/endless'), 2 ** 42);
      const result = compare([], bind(join(dir, 'root')), { mediaType: `${PLAIN}+zstd`, signal });
      result.catch(() => {});
      return result;
    }

    it('ends the process and leaves nothing when it is cancelled', async () => {
      const controller = new AbortController();
      const result = begin(controller.signal);
      await waitFor('the write', async () => ((await stores.content.listStatuses(ns))[0]?.offset ?? 0) > 0);
      controller.abort();
      await expect(result).rejects.toMatchObject({ code: 'canceled' });
      await waitFor('the process to end', () => compareProcesses().length === 0);
      expect(await stores.content.listStatuses(ns)).toEqual([]);
    });

    it('says so when the process is killed', async () => {
      const result = begin();
      const pid = await waitFor('the process', () => compareProcesses()[0]);
      process.kill(pid, 'SIGKILL');
      await expect(result).rejects.toThrow(/killed by SIGKILL/);
      expect(await stores.content.listStatuses(ns)).toEqual([]);
    });

    it('drops the layer when its write is aborted', async () => {
      const result = begin();
      const status = await waitFor('the write', async () => (await stores.content.listStatuses(ns))[0]);
      await stores.content.abort(ns, status.ref);
      const pid = await waitFor('the process', () => compareProcesses()[0]);
      process.kill(pid, 'SIGKILL');
      await expect(result).rejects.toThrow();
      expect(stores.content.list(ns)).toEqual([]);
    });
  });
});

function sha256(data: Buffer): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}
