import { readFileSync } from 'node:fs';
import { constants, createDeflate } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { useTarget } from '../support/cri-target.ts';
import { SpdyClient } from '../support/spdy-client.ts';
import { draftDictionary } from '../support/spdy-dictionary.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
const target = useTarget(suite);

async function portForward(): Promise<SpdyClient> {
  const { url } = await suite.cri.runtime.portForward({ podSandboxId: target.pod, port: [9] });
  return await SpdyClient.connect(url, ['portforward.k8s.io']);
}

async function execUrl(cmd: string[], stdin = false): Promise<string> {
  return (await suite.cri.runtime.exec({ containerId: target.container, cmd, stdin, stdout: true, stderr: true })).url;
}

/** Nobody listens on port 9: the error stream says so. */
async function refusal(client: SpdyClient, requestID: string): Promise<string> {
  const error = await client.open({ streamType: 'error', port: '9', requestID });
  await client.open({ streamType: 'data', port: '9', requestID });
  return await error.all();
}

const memoryMiB = (): number => {
  const status = readFileSync(`/proc/${suite.berth.cri.pid}/status`, 'latin1');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
};
/** What garbage and the heap's growth may make of a few MiB that are held. */
const ROOM_MIB = 192;

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function control(type: number, payload: Buffer): Buffer {
  const head = Buffer.from([0x80, 3, 0, type, 0, 0, 0, 0]);
  head.writeUIntBE(payload.length, 5, 3);
  return Buffer.concat([head, payload]);
}

describe('many at once', () => {
  test('1,000 connections over one session are each answered, and leave no descriptor', async () => {
    const before = suite.descriptors;
    const client = await portForward();
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, n) => refusal(client, String(n))));
    for (const answer of answers) expect(answer).toMatch(/^error forwarding port 9: .*ECONNREFUSED/);
    await client.ping(1);
    client.destroy();
    await waitFor('its descriptors to be closed', () => suite.descriptors <= before);
  });

  test('50 commands, whose clients vanish in the middle, leave neither process nor descriptor', async () => {
    const before = suite.descriptors;
    const clients = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const client = await SpdyClient.connect(await execUrl(['sleep', '614']), ['v4.channel.k8s.io']);
        for (const streamType of ['error', 'stdout', 'stderr']) await client.open({ streamType });
        return client;
      }),
    );
    for (const client of clients) client.destroy();
    const commands = async () => await suite.exec(target.container, 'ps', '-o', 'args');
    await waitFor('the commands to be gone', async () => !(await commands()).includes('sleep 614'));
    await waitFor('the descriptors to be closed', () => suite.descriptors <= before);
  });
});

describe('a client that', () => {
  test('asks without end and reads nothing is cut off', async () => {
    const before = memoryMiB();
    const client = await portForward();
    client.pause();
    const pings = Buffer.concat(Array.from({ length: 50_000 }, (_, n) => control(6, number(2 * n + 1))));
    for (let round = 0; round < 20; round++) client.raw(pings);
    await client.closed();
    expect(memoryMiB() - before).toBeLessThan(ROOM_MIB);
  });

  test('does not read a command’s output holds up the command, not the daemon', async () => {
    const client = await SpdyClient.connect(await execUrl(['cat', '/dev/zero']), ['v4.channel.k8s.io']);
    await client.open({ streamType: 'error' });
    const stdout = await client.open({ streamType: 'stdout' });
    await client.open({ streamType: 'stderr' });
    await waitFor('output', () => stdout.sofar.length > 0);
    client.pause();
    const before = memoryMiB();
    for (let n = 0; n < 20; n++) expect((await suite.exec(target.container, 'echo', String(n))).trim()).toBe(String(n));
    expect(memoryMiB() - before).toBeLessThan(ROOM_MIB);
    client.destroy();
    await waitFor('the command to be gone', async () => {
      return !(await suite.exec(target.container, 'ps', '-o', 'args')).includes('cat /dev/zero');
    });
  });

  test('sends frames that mean nothing is borne', async () => {
    const client = await portForward();
    const nothing = Buffer.concat([
      control(77, Buffer.from('whatever')),
      control(9, Buffer.concat([number(4711), number(1)])),
      control(3, Buffer.concat([number(4711), number(5)])),
    ]);
    client.raw(Buffer.concat(Array.from({ length: 20_000 }, () => nothing)));
    await client.ping(1);
    expect(await refusal(client, '0')).toContain('ECONNREFUSED');
    client.destroy();
  });

  test('sends a header block that inflates without end is cut off', async () => {
    const before = memoryMiB();
    const deflate = createDeflate({ dictionary: draftDictionary });
    const chunks: Buffer[] = [];
    deflate.on('data', (chunk: Buffer) => chunks.push(chunk));
    deflate.write(Buffer.concat([number(1), number(1), Buffer.from('a'), number(0x0200_0000)]));
    for (let n = 0; n < 32; n++) deflate.write(Buffer.alloc(1 << 20));
    await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    const client = await portForward();
    client.raw(control(1, Buffer.concat([number(1), number(0), Buffer.from([0, 0]), ...chunks])));
    await client.closed();
    expect(memoryMiB() - before).toBeLessThan(ROOM_MIB);
  });
});

describe('Node’s own WebSocket, which shares nothing with the server’s library,', () => {
  test.for(['v5.channel.k8s.io', 'v4.channel.k8s.io', 'channel.k8s.io'])('runs a command in %s', async (protocol) => {
    const url = (await execUrl(['sh', '-c', 'read line; echo "$line"; exit 3'], true)).replace('http', 'ws');
    const socket = new WebSocket(url, protocol);
    socket.binaryType = 'arraybuffer';
    const channels = ['', '', '', ''];
    socket.addEventListener('message', ({ data }) => {
      const message = Buffer.from(data as ArrayBuffer);
      channels[message[0] ?? 0] += message.subarray(1).toString();
    });
    const closed = new Promise<number>((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)));
    await new Promise((resolve) => socket.addEventListener('open', resolve));
    expect(socket.protocol).toBe(protocol);
    socket.send(Buffer.from(`\0${'long '.repeat(10_000)}end\n`));
    expect(await closed).toBe(1000);
    expect(channels[1]).toBe(`${'long '.repeat(10_000)}end\n`);
    expect(channels[3]).toContain(protocol === 'channel.k8s.io' ? 'exit status 3' : '"message":"3"');
  });
});
