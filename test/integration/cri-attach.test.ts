import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { ContainerConfig } from '#proto/runtime/v1/ContainerConfig.ts';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { patient, useCri } from '../support/cri-suite.ts';
import { type ClientStream, SpdyClient } from '../support/spdy-client.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
let config: PodSandboxConfig & { logDirectory: string };
let pod: string;

beforeAll(async () => {
  config = suite.podConfig();
  pod = await suite.runPod(config);
});

afterAll(async () => {
  await suite.removePod(pod);
});

interface Wanted {
  readonly tty?: boolean;
  readonly stdin?: boolean;
}

/** Says everything it is told, on both outputs. */
const parrot = 'while read line; do echo "out $line"; echo "err $line" >&2; done; echo over';

const start = (name: string, script: string, fields: Partial<ContainerConfig> = {}): Promise<string> =>
  suite.start(pod, config, suite.containerConfig(name, script, fields));

async function stop(containerId: string): Promise<void> {
  await suite.cri.runtime.stopContainer({ containerId, timeout: 0 });
  await suite.cri.runtime.removeContainer({ containerId });
}

async function attachUrl(containerId: string, { tty = false, stdin = true }: Wanted = {}): Promise<string> {
  const request = { containerId, tty, stdin, stdout: true, stderr: !tty };
  return (await suite.cri.runtime.attach(request, patient)).url;
}

interface Attached {
  readonly client: SpdyClient;
  readonly error: ClientStream;
  readonly stdin: ClientStream | undefined;
  readonly stdout: ClientStream;
  /** stderr, or the sizes of the terminal. */
  readonly other: ClientStream;
}

async function attach(containerId: string, wanted: Wanted = {}): Promise<Attached> {
  const client = await SpdyClient.connect(await attachUrl(containerId, wanted), ['v4.channel.k8s.io']);
  const open = (streamType: string): Promise<ClientStream> => client.open({ streamType });
  const error = await open('error');
  const stdin = (wanted.stdin ?? true) ? await open('stdin') : undefined;
  const stdout = await open('stdout');
  const other = await open(wanted.tty ? 'resize' : 'stderr');
  return { client, error, stdin, stdout, other };
}

/** Waits until what one client says comes back to it: it is attached then. */
async function heard({ stdin, stdout }: Attached, word: string): Promise<void> {
  await waitFor(`"${word}" to come back`, () => {
    stdin?.write(`${word}\n`);
    return stdout.sofar.includes(`out ${word}\n`);
  });
}

describe('clients of a container without a terminal', () => {
  let container: string;
  beforeAll(async () => {
    container = await start('parrot', parrot, { stdin: true });
  });
  afterAll(async () => {
    await stop(container);
  });

  test('each see all that it says, beside its log, and one that leaves takes nothing along', async () => {
    const first = await attach(container);
    await heard(first, 'one');
    // A busy container has more than one "one" to answer: they have all come with the answer to what follows them.
    await heard(first, 'no more');
    const second = await attach(container);
    await heard(second, 'two');
    first.stdin?.write('three\n');
    for (const { stdout, other } of [first, second]) {
      await waitFor('the answer', () => stdout.sofar.endsWith('out three\n') && other.sofar.endsWith('err three\n'));
    }
    expect(second.stdout.sofar).not.toContain('one');
    first.client.destroy();
    await heard(second, 'four');
    second.client.destroy();
    await suite.logged(config, 'parrot', 'err four');
    expect(suite.log(config, 'parrot').filter((line) => line === 'out three')).toHaveLength(1);
  });

  test('may only listen', async () => {
    const speaker = await attach(container);
    const listener = await attach(container, { stdin: false });
    await heard(speaker, 'listen');
    await waitFor('the listener', () => {
      speaker.stdin?.write('again\n');
      return listener.stdout.sofar.includes('again') && listener.other.sofar.includes('again');
    });
    speaker.client.destroy();
    listener.client.destroy();
  });

  test('may end their stdin: it goes on, also for them', async () => {
    const first = await attach(container);
    await heard(first, 'first');
    first.stdin?.write('last words\n', true);
    const second = await attach(container);
    await heard(second, 'second');
    await waitFor('the first to hear', () => first.stdout.sofar.includes('out second\n'));
    first.client.destroy();
    second.client.destroy();
  });

  test('may speak WebSocket', async () => {
    const socket = new WebSocket((await attachUrl(container)).replace('http', 'ws'), 'v5.channel.k8s.io');
    const channels = ['', '', '', ''];
    socket.on('message', (message: Buffer) => {
      channels[message[0] ?? 0] += message.subarray(1).toString();
    });
    await once(socket, 'open');
    await waitFor('the answer', () => {
      socket.send(Buffer.from('\0websocket\n'));
      return channels[1]?.includes('out websocket\n') && channels[2]?.includes('err websocket\n');
    });
    socket.close();
    await once(socket, 'close');
  });

  // CVE-2025-64329: containerd kept something for each client that left without a word.
  test('CVE-2025-64329: leave nothing behind when they vanish', async () => {
    await heard(await attach(container), 'warm').catch(() => undefined);
    const before = suite.descriptors;
    for (let n = 0; n < 30; n++) {
      const attached = await attach(container);
      if (n % 3 === 0) await heard(attached, `round ${n}`);
      attached.client.destroy();
    }
    await waitFor('the descriptors to be closed', () => suite.descriptors <= before);
  });

  test('are refused a terminal that it does not have', async () => {
    await expect(attachUrl(container, { tty: true })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

test('a container with stdinOnce reads the end when its first client says no more', async () => {
  const container = await start('once', parrot, { stdin: true, stdinOnce: true });
  const attached = await attach(container);
  await heard(attached, 'hello');
  attached.stdin?.write('bye\n', true);
  expect(await attached.stdout.all()).toMatch(/out bye\nover\n$/);
  expect(JSON.parse(await attached.error.all())).toMatchObject({ status: 'Success' });
  await attached.client.closed();
  expect(await suite.exited(container)).toMatchObject({ exitCode: 0 });
  await expect(attachUrl(container)).rejects.toMatchObject({ code: 'failed_precondition' });
  await stop(container);
});

test('large output reaches a client whole, and the log too', async () => {
  const script = 'read go; i=0; while [ $i -lt 20 ]; do head -c 100000 /dev/zero | tr "\\0" x; echo; i=$((i+1)); done';
  const container = await start('large', script, { stdin: true });
  const attached = await attach(container);
  await waitFor('the go to be heard', async () => {
    attached.stdin?.write('go\n');
    return attached.stdout.sofar.length > 0;
  });
  expect(await attached.stdout.all()).toBe(`${'x'.repeat(100_000)}\n`.repeat(20));
  await suite.exited(container);
  expect(suite.log(config, 'large')).toEqual(Array.from({ length: 20 }, () => 'x'.repeat(100_000)));
  await stop(container);
});

test('a terminal is shared, and has the size that a client says', async () => {
  const container = await start('shell', 'exec sh', { stdin: true, tty: true });
  const first = await attach(container, { tty: true });
  const second = await attach(container, { tty: true });
  first.other.write('{"Width":123,"Height":45}\n');
  await waitFor('the size', () => {
    first.stdin?.write('stty size\n');
    return first.stdout.sofar.includes('45 123') && second.stdout.sofar.includes('45 123');
  });
  first.client.destroy();
  second.stdin?.write('exit 0\n');
  await second.stdout.all();
  expect(JSON.parse(await second.error.all())).toMatchObject({ status: 'Success' });
  expect(await suite.exited(container)).toMatchObject({ exitCode: 0 });
  await stop(container);
});

test('a container is attached to again after kill -9 of berth-cri', async () => {
  const container = await start('survivor', parrot, { stdin: true });
  await heard(await attach(container), 'before');
  await suite.berth.cri.restartAfterKill9();
  const attached = await attach(container);
  await heard(attached, 'after');
  attached.client.destroy();
  await stop(container);
});
