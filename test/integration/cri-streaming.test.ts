import { once } from 'node:events';
import { beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { useCri } from '../support/cri-suite.ts';
import { useTarget } from '../support/cri-target.ts';
import { type ClientStream, SpdyClient } from '../support/spdy-client.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
const script =
  'echo index >/tmp/index.html; httpd -p 127.0.0.1:8080 -h /tmp; httpd -p "[::1]:8086" -h /tmp; sleep 1000';
const target = useTarget(suite, script);

beforeAll(async () => {
  for (const at of ['127.0.0.1:8080', '[::1]:8086']) {
    const fetched = () => suite.exec(target.container, 'wget', '-q', '-O-', `http://${at}/index.html`);
    await waitFor(`${at} to be served`, () => fetched().catch(() => ''));
  }
});

interface Wanted {
  readonly tty?: boolean;
  readonly stdin?: boolean;
}

async function execUrl(cmd: string[], { tty = false, stdin = false }: Wanted = {}): Promise<string> {
  const request = { containerId: target.container, cmd, tty, stdin, stdout: true, stderr: !tty };
  return (await suite.cri.runtime.exec(request)).url;
}

/** A command over SPDY, with its streams open. */
async function run(cmd: string[], wanted: Wanted = {}, protocol = 'v4.channel.k8s.io') {
  const client = await SpdyClient.connect(await execUrl(cmd, wanted), [protocol]);
  const open = (streamType: string): Promise<ClientStream> => client.open({ streamType });
  const error = await open('error');
  const stdin = wanted.stdin ? await open('stdin') : undefined;
  const stdout = await open('stdout');
  const other = await open(wanted.tty ? 'resize' : 'stderr');
  return { client, error, stdin, stdout, other };
}

async function portForward(): Promise<SpdyClient> {
  const { url } = await suite.cri.runtime.portForward({ podSandboxId: target.pod, port: [8080] });
  return await SpdyClient.connect(url, ['portforward.k8s.io']);
}

async function connection(client: SpdyClient, port: string, requestID: string) {
  const error = await client.open({ streamType: 'error', port, requestID });
  const data = await client.open({ streamType: 'data', port, requestID });
  return { error, data };
}

/** Open descriptors of berth-cri. */

describe('a command over SPDY', () => {
  test.for([5, 4])('ends with its exit code as a status, in version %i', async (version) => {
    const { client, error, stdout, other } = await run(
      ['sh', '-c', 'echo out; echo err >&2; exit 3'],
      {},
      `v${version}.channel.k8s.io`,
    );
    expect(client.response.headers['x-stream-protocol-version']).toBe(`v${version}.channel.k8s.io`);
    expect([await stdout.all(), await other.all()]).toEqual(['out\n', 'err\n']);
    expect(JSON.parse(await error.all())).toMatchObject({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '3' }] },
    });
    await client.closed();
  });

  test.for(['v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'])('fails with a text in %s', async (name) => {
    const failed = await run(['sh', '-c', 'exit 3'], {}, name);
    expect(await failed.error.all()).toBe('command terminated with non-zero exit code: exit status 3');
    const good = await run(['true'], {}, name);
    expect(await good.error.all()).toBe('');
  });

  test('reads stdin to its end', async () => {
    const { stdin, stdout, error } = await run(['cat'], { stdin: true });
    const text = 'x'.repeat(300_000);
    stdin?.write(text);
    stdin?.write('last', true);
    expect(await stdout.all()).toBe(`${text}last`);
    expect(JSON.parse(await error.all())).toMatchObject({ status: 'Success' });
  });

  test('has a terminal of the size that the client says', async () => {
    const { stdout, other, stdin } = await run(['sh'], { tty: true, stdin: true });
    other.write('{"Width":123,"Height":45}\n');
    await waitFor('the size', () => {
      stdin?.write('stty size\n');
      return stdout.sofar.includes('45 123');
    });
    stdin?.write('exit 0\n');
    expect(await stdout.all()).toContain('45 123');
  });

  test('that does not exist is named', async () => {
    const { error } = await run(['no-such-command']);
    expect(JSON.parse(await error.all())).toMatchObject({
      reason: 'InternalError',
      message: expect.stringContaining('no-such-command'),
    });
  });

  test('is killed with all that it started when its client vanishes', async () => {
    const before = suite.descriptors;
    const { client, stdout } = await run(['sh', '-c', 'echo here; sleep 511 & sleep 512']);
    await waitFor('the command', () => stdout.sofar === 'here\n');
    client.destroy();
    await waitFor('its processes to be gone', async () => {
      return !(await suite.exec(target.container, 'ps', '-o', 'args')).includes('sleep 51');
    });
    await waitFor('its descriptors to be closed', () => suite.descriptors <= before);
  });

  test('a process that holds its output does not hold up the client', async () => {
    const { stdout, error } = await run(['sh', '-c', 'echo started; sleep 2 & exit 0']);
    expect(await stdout.all()).toBe('started\n');
    expect(JSON.parse(await error.all())).toMatchObject({ status: 'Success' });
  });
});

describe('a token', () => {
  test('is good for one use', async () => {
    const url = await execUrl(['true']);
    (await SpdyClient.connect(url, ['v4.channel.k8s.io'])).destroy();
    await expect(SpdyClient.connect(url, ['v4.channel.k8s.io'])).rejects.toThrow('404');
  });

  test('is lost on a client that speaks no known protocol', async () => {
    await expect(SpdyClient.connect(await execUrl(['true']), ['v9.channel.k8s.io'])).rejects.toThrow('403');
  });
});

describe('port forward', () => {
  const get = 'GET /index.html HTTP/1.0\r\n\r\n';

  test.for(['8080', '8086'])('reaches port %s of the loopback interface', async (port) => {
    const client = await portForward();
    const { data, error } = await connection(client, port, '0');
    data.write(get, true);
    expect(await data.all()).toContain('index\n');
    expect(await error.all()).toBe('');
    client.destroy();
  });

  test('a stream that fails leaves the others alone', async () => {
    const client = await portForward();
    const refused = await connection(client, '9', '0');
    expect(await refused.error.all()).toMatch(/^error forwarding port 9: .*ECONNREFUSED/);
    const wrong = await client.open({ streamType: 'data', port: '0', requestID: '1' });
    await wrong.all();
    expect(wrong.reset).toBeGreaterThan(0);
    const good = await connection(client, '8080', '2');
    good.data.write(get, true);
    expect(await good.data.all()).toContain('index\n');
    client.destroy();
  });

  test('many connections leave no descriptor', async () => {
    const before = suite.descriptors;
    const client = await portForward();
    // httpd lets no more than nine wait.
    for (let round = 0; round < 8; round++) {
      const all = await Promise.all(Array.from({ length: 8 }, (_, n) => connection(client, '8080', `${round}-${n}`)));
      for (const { data } of all) data.write(get, true);
      for (const { data, error } of all) {
        expect([await data.all(), await error.all()]).toEqual([expect.stringContaining('index\n'), '']);
      }
    }
    client.destroy();
    await waitFor('its descriptors to be closed', () => suite.descriptors <= before);
  });
});

describe('hostile frames', () => {
  test.for([
    ['no SPDY', Buffer.from('GET / HTTP/1.1\r\n\r\n\xff\xff', 'latin1')],
    ['SPDY/2', Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0])],
    ['a control frame of 16 MiB', Buffer.from([0x80, 3, 0, 1, 0, 255, 255, 255])],
    ['a stream without an id', Buffer.from([0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0])],
    ['headers that are not compressed', Buffer.from([0x80, 3, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2])],
    ['settings that are cut off', Buffer.from([0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 255, 255])],
  ] as const)('%s ends the connection, and nothing else', async ([, bytes]) => {
    const client = await portForward();
    client.raw(bytes);
    client.raw(Buffer.alloc(64, 0xff));
    await client.closed();
    expect((await suite.exec(target.container, 'echo', 'alive')).trim()).toBe('alive');
  });

  test('a ping is answered, unknown frames are ignored', async () => {
    const client = await portForward();
    client.control(77, 0, Buffer.from('whatever'));
    await client.ping(1);
    client.destroy();
  });

  // CVE-2022-23471: a terminal's client that left before its sizes were taken kept memory for ever.
  test('CVE-2022-23471: clients that leave a terminal with sizes unread keep nothing', async () => {
    const before = suite.descriptors;
    for (let n = 0; n < 5; n++) {
      const { client, other } = await run(['sleep', '513'], { tty: true, stdin: true });
      for (let size = 0; size < 200; size++) other.write(`{"Width":${size},"Height":24}\n`);
      client.destroy();
    }
    await waitFor('the descriptors to be closed', () => suite.descriptors <= before);
  });
});

describe('a command over a WebSocket', () => {
  async function messages(protocol: string, cmd: string[], wanted: Wanted, send: (socket: WebSocket) => void) {
    const socket = new WebSocket((await execUrl(cmd, wanted)).replace('http', 'ws'), protocol);
    const channels = new Map<number, string>();
    const base64 = protocol.includes('base64');
    socket.on('message', (message: Buffer) => {
      const channel = base64 ? Number(message.subarray(0, 1).toString()) : (message[0] ?? -1);
      const text = base64
        ? Buffer.from(message.subarray(1).toString(), 'base64').toString()
        : message.subarray(1).toString();
      channels.set(channel, (channels.get(channel) ?? '') + text);
    });
    await once(socket, 'open');
    send(socket);
    await once(socket, 'close');
    return channels;
  }

  test.for(['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'])(
    'ends with a status in %s',
    async (name) => {
      const channels = await messages(name, ['sh', '-c', 'echo out; echo err >&2; exit 3'], {}, () => undefined);
      expect([channels.get(1), channels.get(2)]).toEqual(['out\n', 'err\n']);
      expect(JSON.parse(channels.get(3) ?? '')).toMatchObject({
        details: { causes: [{ reason: 'ExitCode', message: '3' }] },
      });
    },
  );

  test('version 5 closes stdin alone', async () => {
    const channels = await messages('v5.channel.k8s.io', ['cat'], { stdin: true }, (socket) => {
      socket.send(Buffer.from('\0hello'));
      socket.send(Buffer.from([255, 0]));
    });
    expect(channels.get(1)).toBe('hello');
  });
});
