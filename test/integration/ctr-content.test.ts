import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, digestOf, ociArchive } from '../support/busybox-image.ts';
import { Ctr, ctrKinds } from '../support/ctr.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
/** What an image's name may point to although it isn't there. */
const target = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(Buffer.alloc(0)), size: 1 };

describe.each(ctrKinds)('content and more by the $kind ctr', ({ kind, program, missing }) => {
  let namespace: string;
  let ctr: Ctr;
  beforeEach(({ skip }) => skip(missing !== undefined, missing));
  beforeAll(() => {
    namespace = `${suite.namespace}-${kind}`;
    ctr = new Ctr(suite.berthd.socket, namespace, suite.dir, { program });
  });

  it('ingest, ls, get, label, edit, rm: a blob from its first to its last byte', async () => {
    const bytes = Buffer.from(`blob of ${kind}\n`);
    const digest = digestOf(bytes);
    const edited = digestOf(Buffer.from(`${bytes}more\n`));
    // Nothing refers to a blob before it has its label: a collection must not come between.
    using clients = suite.berthd.clients(namespace);
    await clients.leases.create({ id: 'kept' });
    for (const id of [digest, edited])
      await clients.leases.addResource({ id: 'kept', resource: { id, type: 'content' } });
    const expected = ['--expected-size', String(bytes.length), '--expected-digest', digest];
    await ctr.with({ input: bytes }).run('content', 'ingest', ...expected, `blob-${kind}`);
    await ctr.run('content', 'label', digest, 'containerd.io/gc.root=now');
    expect(await ctr.run('content', 'get', digest)).toBe(bytes.toString());
    expect(await ctr.run('content', 'ls', 'labels."containerd.io/gc.root"==now')).toContain(digest);

    const editor = join(suite.dir, `${kind}-editor`);
    writeFileSync(editor, '#!/bin/sh\necho more >>"$1"\n', { mode: 0o755 });
    await ctr.with({ env: { EDITOR: editor } }).run('content', 'edit', digest);
    expect(await ctr.run('content', 'ls', '-q')).toContain(edited);

    await ctr.run('content', 'rm', digest);
    expect((await ctr.try('content', 'get', digest)).stderr).toContain('not found');
    await clients.leases.delete({ id: 'kept', sync: true });
  });

  it('ingest: other bytes than announced are refused and stay an active write', async () => {
    const wrong = digestOf(Buffer.from('other'));
    const result = await ctr.with({ input: 'bytes' }).try('content', 'ingest', '--expected-digest', wrong, 'broken');
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('unexpected commit digest');
    expect(await ctr.table('content', 'active')).toContainEqual(expect.arrayContaining(['broken', '5B']));
    using clients = suite.berthd.clients(namespace);
    await clients.content.abort({ ref: 'broken' });
  });

  it('leases: create, list, delete', async () => {
    await ctr.run('leases', 'create', '--id', 'mine', '--expires', '1h', 'colour=blue');
    const rows = await ctr.table('leases', 'ls');
    expect(rows).toEqual([['mine', expect.anything(), expect.stringMatching(/colour=blue.*gc\.expire=/)]]);
    expect((await ctr.try('leases', 'create', '--id', 'mine')).stderr).toContain('already exists');
    await ctr.run('leases', 'rm', '--sync', 'mine');
    expect((await ctr.run('leases', 'ls', '-q')).trim()).toBe('');
  });

  it('namespaces: create, label, list, remove, but not with something in it', async () => {
    const name = `${namespace}-more`;
    await ctr.run('namespaces', 'create', name, 'a=b');
    expect((await ctr.try('namespaces', 'create', name)).stderr).toContain('already exists');
    await ctr.run('namespaces', 'label', name, 'a=', 'c=d');
    expect(await ctr.table('namespaces', 'ls')).toContainEqual([name, 'c=d']);
    using clients = suite.berthd.clients(name);
    await clients.images.create({ image: { name: 'holds', target } });
    expect((await ctr.try('namespaces', 'rm', name)).stderr).toContain('must be empty');
    await clients.images.delete({ name: 'holds', sync: true });
    await ctr.run('namespaces', 'rm', name);
    expect((await ctr.run('namespaces', 'ls', '-q')).split('\n')).not.toContain(name);
  });

  it('events: are told as they happen, of this namespace or any', async () => {
    const watching = ctr.start('events');
    let seen = '';
    watching.stdout.on('data', (data) => {
      seen += String(data);
    });
    try {
      await waitFor(
        'an event',
        async () => {
          using clients = suite.berthd.clients(namespace);
          await clients.images.create({ image: { name: 'told', target } });
          await clients.images.delete({ name: 'told' });
          return seen.includes('/images/delete');
        },
        30_000,
      );
    } finally {
      watching.kill();
    }
    expect(seen).toMatch(new RegExp(`${namespace} /images/delete {"name":"told"}`));
  });

  it('version, plugins: both ends are in order', async () => {
    expect(await ctr.run('version')).toMatch(/Server:\s+Version:\s+v/);
    const states = (await ctr.table('plugins', 'ls')).map((row) => row.at(-1));
    expect(new Set(states)).toEqual(new Set(['ok']));
    if (kind === 'newer')
      expect(JSON.parse(await ctr.run('info'))).toMatchObject({ server: { uuid: expect.any(String) } });
  });
});

describe.each(ctrKinds)('snapshots by the $kind ctr', ({ kind, program, missing }) => {
  const image = busyboxImage({ files: [{ name: `etc/${kind}`, data: 'x' }] });
  let ctr: Ctr;
  let top = '';
  beforeEach(({ skip }) => skip(missing !== undefined, missing));
  beforeAll(() => {
    ctr = new Ctr(suite.berthd.socket, `${suite.namespace}-${kind}-snapshots`, suite.dir, { program });
  });

  it('unpack: the snapshots of an image, which ls, tree and usage show', async () => {
    const archive = join(suite.dir, `${kind}-snapshots.tar`);
    writeFileSync(archive, ociArchive(image, 'example.com/snapshots:1'));
    await ctr.run('images', 'import', '--no-unpack', archive);
    await ctr.run('snapshots', 'unpack', image.manifest.digest);
    const rows = await ctr.table('snapshots', 'ls');
    expect(rows.map((row) => row.at(-1))).toEqual(['Committed', 'Committed']);
    top = rows.find((row) => row.length === 3)?.[0] ?? '';
    expect(await ctr.run('snapshots', 'tree')).toContain(`\\_ ${top}`);
    const usage = await ctr.table('snapshots', 'usage');
    expect(usage.map(([key]) => key)).toContain(top);
    expect(usage.find(([key]) => key === top)?.slice(-1)).toEqual([expect.stringMatching(/^\d+$/)]);
  });

  it('prepare, view, mounts, commit, label, info, rm: a snapshot from its first to its last change', async () => {
    await ctr.run('snapshots', 'prepare', 'work', top);
    // Nothing keeps a view of this client: it is told the mounts at once.
    const view = await ctr.run('snapshots', 'view', '--target', '/target', 'look', top);
    expect(view).not.toContain('upperdir=');
    expect(await ctr.run('snapshots', 'mounts', '/target', 'work')).toMatch(
      /^mount -t overlay .* \/target .*upperdir=/,
    );
    await ctr.run('snapshots', 'commit', 'done', 'work');
    await ctr.run('snapshots', 'label', 'done', 'colour=blue');
    const info = JSON.parse(await ctr.run('snapshots', 'info', 'done'));
    expect(info).toMatchObject({ Kind: 'Committed', Parent: top, Labels: { colour: 'blue' } });
    expect((await ctr.try('snapshots', 'rm', top)).stderr).toMatch(/has children|cannot remove|failed precondition/i);
    await ctr.run('snapshots', 'rm', 'done');
    expect((await ctr.try('snapshots', 'info', 'done')).stderr).toMatch(/not found|does not exist/);
  });
});
