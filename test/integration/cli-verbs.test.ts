import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BerthCommand } from '../support/berth-command.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { Registry } from '../support/registry.ts';
import { waitFor } from '../support/wait-for.ts';

const image = busyboxImage();
const name = 'docker.io/library/tool:1';

const suite = useBerthd();
const command = new BerthCommand(suite);
const { run: berth, text, json } = command;

beforeAll(() => writeFileSync(join(suite.dir, 'image.tar'), ociArchive(image, name)));

test('namespaces are made, shown and removed', async () => {
  const one = `${suite.namespace}-b`;
  const other = `${suite.namespace}-a`;
  expect(await text('namespaces', 'create', one, '--label', 'team=x')).toBe(`created ${one}\n`);
  await text('namespaces', 'create', other);
  const all = (await json('namespaces', 'list')) as { name: string }[];
  expect(all.filter(({ name }) => name.startsWith(suite.namespace))).toEqual([
    { name: suite.namespace, labels: {} },
    { name: other, labels: {} },
    { name: one, labels: { team: 'x' } },
  ]);
  expect(await json('namespaces', 'remove', one, other)).toEqual({ removed: [one, other] });
  expect(await berth(['namespaces', 'remove', one])).toEqual({
    code: 1,
    stdout: '',
    stderr: `berth: namespace "${one}" not found; see "berth namespaces list"\n`,
  });
});

describe('images', () => {
  test('are imported, listed with their size, tagged and removed', async () => {
    expect(await text('images', 'import', join(suite.dir, 'image.tar'))).toBe(`imported ${name}\n`);
    const [listed] = (await json('images', 'list')) as Record<string, unknown>[];
    const size = [image.manifest, image.config, ...image.layers].reduce((sum, blob) => sum + blob.size, 0);
    expect(listed).toMatchObject({ name, digest: image.manifest.digest, size });
    expect(await text('images', 'list')).toMatch(/^NAME +DIGEST +SIZE +AGE\n\S+ +sha256:\w{12} +1\.\d MiB +\d+s\n$/);

    expect(await text('images', 'tag', 'tool:1', 'copy')).toBe('tagged docker.io/library/copy:latest\n');
    const again = await berth(['images', 'tag', 'tool:1', 'copy']);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('--force') });
    expect(await text('images', 'remove', 'copy')).toBe('removed copy\n');
  });

  test('one name that is not there does not keep the others from being removed', async () => {
    await text('images', 'tag', 'tool:1', 'x');
    const { code, stdout, stderr } = await berth(['images', 'remove', 'nothing', 'x']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'removed x\n' });
    expect(stderr).toBe(
      'berth: image "docker.io/library/nothing:latest" not found; see "berth images list", or pull it\n',
    );
  });

  test('come back from an archive that was exported', async () => {
    const archive = join(suite.dir, 'exported.tar');
    await text('images', 'export', archive, 'tool:1');
    expect(existsSync(`${archive}.partial`)).toBe(false);
    await text('images', 'remove', '--sync', name);
    expect(await json('content', 'list')).toEqual([]);
    expect(await json('images', 'import', archive)).toEqual({ imported: [name] });
  });

  test('are imported from standard input', async () => {
    const child = spawn(process.execPath, [...command.words.slice(1), 'images', 'import', '--no-unpack', '-']);
    child.stdin.end(readFileSync(join(suite.dir, 'image.tar')));
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('refuses a directory that is no OCI layout, or a damaged one, and says what is wrong', async () => {
    const directory = join(suite.dir, 'no-layout');
    mkdirSync(directory);
    const none = await berth(['images', 'import', directory]);
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/no-layout is no OCI image layout: it has no oci-layout/);
    const fresh = busyboxImage({ files: [{ name: 'own', data: 'damaged' }] });
    const layout = writeOciLayout(join(suite.dir, 'damaged-layout'), fresh, 'example.com/damaged:1');
    const hex = fresh.config.digest.slice('sha256:'.length);
    writeFileSync(join(layout, 'blobs/sha256', hex), 'damaged');
    const damaged = await berth(['images', 'import', layout]);
    expect(damaged.code).toBe(1);
    expect(damaged.stderr).toContain(hex);
  });

  test('what is no archive is refused', async () => {
    const file = join(suite.dir, 'no-archive');
    writeFileSync(file, 'x'.repeat(2048));
    const { code, stderr } = await berth(['images', 'import', file]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^berth: .*no-archive: .+\n$/);
    expect(await berth(['images', 'import', join(suite.dir, 'missing')])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('missing: ENOENT'),
    });
  });

  describe('of a registry', () => {
    let registry: Registry;

    beforeAll(async () => {
      registry = await Registry.start(suite.dir);
    });

    afterAll(() => registry?.[Symbol.asyncDispose]());

    test('are pulled and unpacked', async () => {
      const reference = await registry.push(image, 'test/tool', '2');
      expect(await text('images', 'pull', reference)).toBe(`pulled ${reference} ${image.manifest.digest}\n`);
      const unpacked = (await json('snapshots', 'list')) as { kind: string }[];
      expect(unpacked.map(({ kind }) => kind)).toEqual(['committed']);
    });

    test('show a bar per layer on a terminal', async () => {
      const drawn = busyboxImage({ files: [{ name: 'more', data: 'x' }] });
      const reference = await registry.push(drawn, 'test/drawn', '1');
      const line = [...command.words, 'images', 'pull', reference].join(' ');
      const child = spawn('script', ['-qec', `stty cols 160; ${line}`, '/dev/null'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const output = (await Array.fromAsync(child.stdout, String)).join('');
      expect(output).toContain(`Pull ${reference}`);
      expect(output).toContain(`${drawn.layers[1]?.digest.slice(0, 19)}  extracted, ${drawn.layers[1]?.size} B`);
      expect(output).toContain(`pulled ${reference}`);
    });

    test('that are not there are named', async () => {
      const { code, stderr } = await berth(['images', 'pull', `${registry.host}/test/none:1`]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^berth: .*test\/none:1.*\n$/);
    });
  });
});

test('content is listed, read and removed', async () => {
  const { digest, size, data } = image.config;
  expect(await json('content', 'list', `digest==${digest}`)).toMatchObject([{ digest, size }]);
  expect(await text('content', 'get', digest)).toBe(data.toString());
  const missing = `sha256:${'0'.repeat(64)}`;
  const failed = { code: 1, stdout: '', stderr: `berth: content ${missing} not found; see "berth content list"\n` };
  expect(await Promise.all([berth(['content', 'get', missing]), berth(['content', 'remove', missing])])).toEqual([
    failed,
    failed,
  ]);
});

test('snapshots have their usage', async () => {
  const listed = (await json('snapshots', 'list')) as { key: string; parent: string | null }[];
  const base = listed.find(({ parent }) => parent === null);
  const usages = (await json('snapshots', 'usage')) as { key: string; size: number; inodes: number }[];
  const usage = usages.find(({ key }) => key === base?.key);
  expect(usage?.size).toBeGreaterThan(1_000_000);
  expect(await text('snapshots', 'usage', usage?.key ?? '')).toMatch(
    /^KEY +SIZE +INODES\nsha256:\w+ +\d\.\d MiB +\d+\n$/,
  );
  expect(await berth(['snapshots', 'remove', 'none'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('berth snapshots list'),
  });
});

describe('tasks', () => {
  test('run in the foreground with the process’s output and exit code, and leave nothing behind', async () => {
    const { code, stdout, stderr } = await berth(
      ['tasks', 'run', '--rm', '-i', '--user', '1000:1000', '-e', 'WORD=there', 'tool:1', 'front', '--'].concat(
        'sh',
        '-c',
        'cat; echo $WORD; id -u; echo oops >&2; exit 7',
      ),
      'from here\n',
    );
    expect({ code, stdout, stderr }).toEqual({ code: 7, stdout: 'from here\nthere\n1000\n', stderr: 'oops\n' });
    const left = await Promise.all(['tasks', 'containers', 'leases'].map((group) => json(group, 'list')));
    expect(left).toEqual([[], [], []]);
    expect(readdirSync(suite.dir).filter((entry) => entry.startsWith('berth-io-'))).toEqual([]);
  });

  test('a command that is not there leaves no container', async () => {
    const { code, stderr } = await berth(['tasks', 'run', 'tool:1', 'bad', 'no-such-command']);
    expect(code).toBe(1);
    expect(stderr).toContain('no-such-command');
    expect(await Promise.all([json('containers', 'list'), json('tasks', 'list')])).toEqual([[], []]);
  });

  test('run in the background, take further processes, signals and removal', async () => {
    await text('tasks', 'run', '--detach', '--label', 'a=b', 'tool:1', 'back', '--', 'sleep', '600');
    const [task] = (await json('tasks', 'list')) as { id: string; pid: number; status: string }[];
    expect(task).toMatchObject({ id: 'back', status: 'running', exitCode: null });
    expect(await text('tasks', 'list')).toMatch(new RegExp(`back +${task?.pid} +running +-\n`));
    expect(await json('containers', 'list', 'labels.a==b')).toMatchObject([{ id: 'back', image: name }]);
    expect(JSON.parse(await text('containers', 'info', 'back'))).toMatchObject({
      id: 'back',
      spec: { value: { process: { args: ['sleep', '600'] } } },
    });

    const exec = await berth(['tasks', 'exec', '-i', 'back', '--', 'sh', '-c', 'wc -c; exit 3'], 'four');
    expect(exec).toMatchObject({ code: 3, stdout: '4\n' });

    expect(await berth(['containers', 'remove', 'back'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('berth tasks remove --force back'),
    });
    expect(await berth(['tasks', 'remove', 'back'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^berth: back: .*--force\n$/),
    });
    await text('tasks', 'kill', '--signal', 'KILL', 'back');
    await waitFor('the end', async () => /stopped +137\n/.test(await text('tasks', 'list')));
    await text('tasks', 'remove', 'back');
    await text('containers', 'remove', 'back');
    const kinds = (await json('snapshots', 'list')) as { kind: string }[];
    expect(kinds.map(({ kind }) => kind)).not.toContain('active');
  });

  test('Ctrl-C ends the process in the foreground', async () => {
    const child = spawn(
      process.execPath,
      [...command.words.slice(1), 'tasks', 'run', '--rm', 'tool:1', 'int', '--'].concat(
        'sh',
        '-c',
        'trap "exit 0" TERM; echo up; while true; do sleep 0.1; done',
      ),
    );
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([130, null]);
    expect(await json('containers', 'list')).toEqual([]);
  });
});

test('leases are shown and removed', async () => {
  const expire = new Date(Date.now() + 7_200_500).toISOString();
  await suite.clients.leases.create({ id: 'kept', labels: { 'containerd.io/gc.expire': expire } });
  await suite.clients.leases.create({ id: 'for-ever' });
  expect(await json('leases', 'list')).toMatchObject([
    { id: 'for-ever', expiresAt: null, resources: [] },
    { id: 'kept', expiresAt: expire },
  ]);
  expect(await text('leases', 'list')).toMatch(/for-ever +\d+s +never +0\nkept +\d+s +[12]h +0\n/);
  expect(await json('leases', 'remove', '--sync', 'kept', 'for-ever')).toEqual({ removed: ['kept', 'for-ever'] });
});

test('events are followed until Ctrl-C, those of the chosen namespace', async () => {
  const child = spawn(process.execPath, [...command.words.slice(1), '--json', 'events']);
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  await waitFor('an event', async () => {
    await suite.clients.namespaces.create({ namespace: { name: `${suite.namespace}-x` } });
    await suite.clients.namespaces.delete({ name: `${suite.namespace}-x` });
    await text('images', 'tag', '--force', 'tool:1', 'seen');
    return output.includes('/images/');
  });
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
  const events = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(new Set(events.map(({ namespace }) => namespace))).toEqual(new Set([suite.namespace]));
  expect(events[0]).toMatchObject({ topic: expect.stringMatching(/^\/images\//), event: { name: expect.any(String) } });
});

test('a command line that is not understood ends with 2', async () => {
  expect(await berth(['images', 'lst'])).toMatchObject({ code: 2, stderr: expect.stringContaining('list') });
  expect(await berth(['tasks', 'kill', '-s', 'NOPE', 'x'])).toMatchObject({ code: 2 });
  expect(await berth(['images'])).toMatchObject({ code: 2, stderr: expect.stringContaining('pull') });
  expect(await berth(['images', '--help'])).toMatchObject({ code: 0, stderr: '' });
});

test('a daemon that is not there is named, with what to do', async () => {
  const socket = join(suite.dir, 'none.sock');
  expect(await berth(['--address', socket, 'images', 'list'])).toEqual({
    code: 1,
    stdout: '',
    stderr: `berth: no daemon serves ${socket}: start it with "berth up", or name its socket with --address\n`,
  });
});
