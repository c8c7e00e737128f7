import { describe, expect, test } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { useTarget } from '../support/cri-target.ts';
import { SpdyClient } from '../support/spdy-client.ts';
import { control, data, open, plainHeaders, stored, word, zlibStart } from '../support/spdy-frames.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
const target = useTarget(suite);

async function portForward(): Promise<SpdyClient> {
  const { url } = await suite.cri.runtime.portForward({ podSandboxId: target.pod, port: [9] });
  return await SpdyClient.connect(url, ['portforward.k8s.io']);
}

async function command(cmd: string[]): Promise<SpdyClient> {
  const asked = { containerId: target.container, cmd, stdin: true, stdout: true, stderr: true };
  return await SpdyClient.connect((await suite.cri.runtime.exec(asked)).url, ['v4.channel.k8s.io']);
}

/** Nobody listens on port 9: the error stream says so. */
async function refusal(client: SpdyClient): Promise<string> {
  const error = await client.open({ streamType: 'error', port: '9', requestID: '0' });
  await client.open({ streamType: 'data', port: '9', requestID: '0' });
  return await error.all();
}

/** The daemon serves others, and has nothing left of what was sent to it. */
async function isUnharmed(before: number): Promise<void> {
  const client = await portForward();
  expect(await refusal(client)).toContain('ECONNREFUSED');
  client.destroy();
  await waitFor('the descriptors to be closed', () => suite.descriptors <= before);
}

const aPair = plainHeaders({ streamtype: 'error', port: '9', requestid: '7' });
/** Header blocks are one zlib stream: the first has its start. */
const first = (bytes: Buffer) => Buffer.concat([zlibStart, stored(bytes)]);

/** No client may send these (SPDY/3.1 draft, 2.2, 2.3, 2.6). */
const wrong: Readonly<Record<string, Buffer>> = {
  'of another version': control({ type: 6, version: 2 }, 1),
  'of control that is longer than is taken': control({ type: 1, length: 65_537 }),
  'of control of all lengths': control({ type: 99, length: 0xffffff }),
  'SYN_STREAM that is too short': control({ type: 1 }, 1, 0),
  'SYN_REPLY that is too short': control({ type: 2 }, Buffer.alloc(3)),
  'RST_STREAM that is too short': control({ type: 3 }, 1),
  'SETTINGS that is too short': control({ type: 4 }, Buffer.alloc(3)),
  'SETTINGS that counts more than it has': control({ type: 4 }, 0xffffffff, 0x07, 65_536),
  'PING that is too short': control({ type: 6 }, Buffer.alloc(3)),
  'HEADERS that is too short': control({ type: 8 }, Buffer.alloc(2)),
  'WINDOW_UPDATE that is too short': control({ type: 9 }, 1),
  'of data for a stream that was never opened': data(7, 'x'),
  'that opens a stream of the server’s': open(2, first(aPair)),
  'that opens stream 0': open(0, first(aPair)),
  'that opens a stream again': Buffer.concat([open(1, first(aPair)), open(1, stored(aPair))]),
  'that opens a stream before the last one': Buffer.concat([open(5, first(aPair)), open(3, stored(aPair))]),
  'with a header block that is no zlib': open(1, Buffer.from('GET / HTTP/1.1\r\n')),
  'with a header block of another dictionary': open(
    1,
    Buffer.concat([zlibStart.subarray(0, 2), word(1), stored(aPair)]),
  ),
  'with a header block of a type that deflate has not': open(1, Buffer.concat([zlibStart, Buffer.from([0x06])])),
  'with a stored block whose length is wrong': open(1, Buffer.concat([zlibStart, Buffer.from([0, 1, 0, 1, 0])])),
  'with no header block': open(1, Buffer.alloc(0)),
  'with half a header block': open(1, Buffer.concat([zlibStart, stored(aPair).subarray(0, 9)])),
  'with a header block that is cut off': open(1, first(aPair.subarray(0, -1))),
  'with more headers than are taken': open(1, first(Buffer.concat([word(257), Buffer.alloc(257 * 8)]))),
  'with 4,294,967,295 headers': open(1, first(word(0xffffffff))),
  'with a name beyond all bounds': open(1, first(Buffer.concat([word(1), word(0xffffffff)]))),
  'with a header block after the last one': Buffer.concat([
    open(1, Buffer.concat([zlibStart, stored(aPair, { last: true }), Buffer.alloc(4)])),
    open(3, stored(aPair)),
  ]),
};

describe('a frame', () => {
  for (const [name, bytes] of Object.entries(wrong)) {
    test(`${name} ends its session`, async () => {
      const before = suite.descriptors;
      const client = await portForward();
      client.raw(bytes);
      await client.closed();
      await isUnharmed(before);
    });
  }

  test('of each of these kinds ends a command with its session, also when it comes byte by byte', async () => {
    const before = suite.descriptors;
    for (const bytes of Object.values(wrong)) {
      const client = await command(['cat', '-']);
      for (const byte of bytes.subarray(0, 100)) client.raw(Buffer.from([byte]));
      client.raw(bytes.subarray(100));
      await client.closed();
    }
    await isUnharmed(before);
  });

  test('that is incomplete leaves nothing when its client vanishes', async () => {
    const before = suite.descriptors;
    for (const bytes of [word(0x80030001), control({ type: 1, length: 60_000 }, 1), data(1, 'begun', { length: 99 })]) {
      const client = await portForward();
      client.raw(bytes);
      client.destroy();
    }
    await isUnharmed(before);
  });
});

/** Frames about streams that the server doesn't know, or no more: the draft has them passed over, or may come so late. */
const odd: Readonly<Record<string, Buffer>> = {
  'SYN_REPLY for a stream that there is not': control({ type: 2, flags: 1 }, 4711, first(aPair)),
  'HEADERS for a stream that there is not': control({ type: 8, flags: 1 }, 4711, first(aPair)),
  'RST_STREAM for a stream that there is not': control({ type: 3 }, 4711, 5),
  'RST_STREAM for the session': control({ type: 3 }, 0, 1),
  'WINDOW_UPDATE for a stream that there is not': control({ type: 9 }, 4711, 0x7fffffff),
  'WINDOW_UPDATE of nothing': control({ type: 9 }, 0, 0),
  'SETTINGS that nobody knows': control({ type: 4 }, 2, 0x00ffffff, 1, 0x01000063, 2),
  'SETTINGS with no window': control({ type: 4 }, 1, 0x07, 0),
  'PING of the server’s': control({ type: 6 }, 2),
  GOAWAY: control({ type: 7 }, 0, 0),
  'GOAWAY without content': control({ type: 7 }),
  'CREDENTIAL, which is of no use here': control({ type: 10 }, Buffer.alloc(100)),
  'data for stream 0': data(0, 'x', { fin: true }),
  'data for a stream that has been refused': Buffer.concat([
    open(1, first(plainHeaders({ streamtype: 'error', port: 'none' }))),
    data(1, 'late'),
  ]),
  'data for a stream that its client has reset': Buffer.concat([
    open(1, first(aPair)),
    control({ type: 3 }, 1, 5),
    data(1, 'late'),
    control({ type: 3 }, 1, 5),
  ]),
  'data behind the end of its stream': Buffer.concat([
    open(1, first(aPair)),
    data(1, '', { fin: true }),
    data(1, 'late', { fin: true }),
  ]),
  'data for a stream that was opened with its end': Buffer.concat([open(1, first(aPair), 1), data(1, 'late')]),
};

describe('a session goes on after', () => {
  for (const [name, bytes] of Object.entries(odd)) {
    test(name, async () => {
      const before = suite.descriptors;
      const client = await portForward();
      client.raw(bytes);
      await client.ping(1);
      client.destroy();
      await isUnharmed(before);
    });
  }

  test('a window that overflows: its stream alone is reset', async () => {
    const before = suite.descriptors;
    const client = await portForward();
    const stream = await client.open({ streamType: 'error', port: '9', requestID: 'alone' });
    client.raw(control({ type: 9 }, stream.id, 0x7fffffff));
    await stream.ended;
    expect(stream.reset).toBe(6);
    expect(await refusal(client)).toContain('ECONNREFUSED');
    client.destroy();
    await isUnharmed(before);
  });

  test('the stream that is one too many: it alone is refused', async () => {
    const before = suite.descriptors;
    const client = await portForward();
    const waiting = Array.from({ length: 4096 }, (_, n) => open(2 * n + 1, n === 0 ? first(aPair) : stored(pairOf(n))));
    client.raw(Buffer.concat([...waiting, open(8193, stored(pairOf(4096)))]));
    await client.ping(1);
    expect(client.resets).toEqual([[8193, 3]]);
    client.destroy();
    await isUnharmed(before);
  });
});

const pairOf = (n: number) => plainHeaders({ streamtype: 'error', port: '9', requestid: `of ${n}` });

describe('a flood of', () => {
  test('streams that are reset as soon as they are opened is borne, and none of the resets is answered', async () => {
    const before = suite.descriptors;
    const client = await portForward();
    const streams = Array.from({ length: 20_000 }, (_, n) => {
      const id = 2 * n + 1;
      return Buffer.concat([open(id, n === 0 ? first(aPair) : stored(pairOf(n))), control({ type: 3 }, id, 5)]);
    });
    client.raw(Buffer.concat(streams));
    await client.ping(1);
    expect(client.resets).toEqual([]);
    client.destroy();
    await isUnharmed(before);
  });

  test('settings, each as long as may be, is borne beside thousands of streams', async () => {
    const client = await portForward();
    const waiting = Array.from({ length: 4000 }, (_, n) => open(2 * n + 1, n === 0 ? first(aPair) : stored(pairOf(n))));
    client.raw(Buffer.concat(waiting));
    const window = Buffer.concat([word(0x07), word(65_536)]);
    const settings = control({ type: 4 }, 8000, Buffer.concat(Array.from({ length: 8000 }, () => window)));
    for (let n = 0; n < 50; n++) client.raw(settings);
    await client.ping(1);
    client.destroy();
  });

  for (const [name, bytes] of Object.entries({
    RST_STREAM: control({ type: 3 }, 1, 5),
    GOAWAY: control({ type: 7 }, 0, 0),
    WINDOW_UPDATE: control({ type: 9 }, 1, 0),
    'empty data': data(0, ''),
  })) {
    test(`${name} is borne`, async () => {
      const client = await portForward();
      client.raw(Buffer.concat(Array.from({ length: 50_000 }, () => bytes)));
      await client.ping(1);
      expect(await refusal(client)).toContain('ECONNREFUSED');
      client.destroy();
    });
  }
});
