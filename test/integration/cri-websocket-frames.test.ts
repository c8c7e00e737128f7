import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { useTarget } from '../support/cri-target.ts';
import { frame, rawWebSocket } from '../support/raw-websocket.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
const target = useTarget(suite);

async function command(cmd: string[], protocol: string): Promise<Socket> {
  const asked = { containerId: target.container, cmd, stdin: true, stdout: true, stderr: true };
  return await rawWebSocket((await suite.cri.runtime.exec(asked)).url, protocol);
}

async function portForward(protocol: string): Promise<Socket> {
  const { url } = await suite.cri.runtime.portForward({ podSandboxId: target.pod, port: [9] });
  return await rawWebSocket(url, protocol);
}

async function closed(socket: Socket): Promise<void> {
  socket.resume();
  // Some end with a reset, which is no news: "once" would throw.
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
}

/** The daemon is the one it was, serves others, and has nothing left of what was sent to it. */
async function isUnharmed(before: number): Promise<void> {
  expect((await suite.exec(target.container, 'echo', 'well')).trim()).toBe('well');
  await waitFor('the commands to be gone', async () => {
    return !(await suite.exec(target.container, 'ps', '-o', 'args')).includes('cat -');
  });
  await waitFor('the descriptors to be closed', () => suite.descriptors <= before);
}

/** No frame of a client may look like these (RFC 6455, 5.1, 5.2, 5.4, 5.5 and 7.4). */
const wrong: Readonly<Record<string, Buffer>> = {
  'a reserved opcode': frame({ opcode: 3 }, '\0x'),
  'a reserved control opcode': frame({ opcode: 11 }),
  'reserved bits': frame({ opcode: 2, reserved: 4 }, '\0x'),
  'no mask': frame({ opcode: 2, masked: false }, '\0x'),
  'a ping in fragments': frame({ opcode: 9, final: false }, 'x'),
  'a ping that is too long': frame({ opcode: 9 }, Buffer.alloc(126)),
  'a continuation of nothing': frame({ opcode: 0 }, '\0x'),
  'a message within a message': Buffer.concat([frame({ opcode: 2, final: false }, '\0x'), frame({ opcode: 2 }, '\0y')]),
  'a message larger than is taken': frame({ opcode: 2, length: 1n << 24n }),
  'a length beyond all bounds': frame({ opcode: 2, length: (1n << 63n) - 1n }),
  'a message that grows beyond what is taken': Buffer.concat([
    frame({ opcode: 2, final: false }, Buffer.alloc(700_000)),
    frame({ opcode: 0, final: false }, Buffer.alloc(700_000)),
  ]),
  'a reason to close of one byte': frame({ opcode: 8 }, 'x'),
  'a reason to close that is none': frame({ opcode: 8 }, Buffer.from([0x03, 0xec])),
  'text that is no UTF-8': frame({ opcode: 1 }, Buffer.from([0x30, 0xff, 0xfe])),
};

describe('a frame with', () => {
  for (const [name, bytes] of Object.entries(wrong)) {
    test(`${name} ends its connection, and the command with it`, async () => {
      const before = suite.descriptors;
      const socket = await command(['cat', '-'], 'v5.channel.k8s.io');
      socket.write(bytes);
      await closed(socket);
      await isUnharmed(before);
    });
  }

  test('each of these ends a port forward, plain and tunnelled', async () => {
    const before = suite.descriptors;
    for (const protocol of ['v4.channel.k8s.io', 'SPDY/3.1+portforward.k8s.io']) {
      for (const bytes of Object.values(wrong)) {
        const socket = await portForward(protocol);
        socket.write(bytes);
        await closed(socket);
      }
    }
    await isUnharmed(before);
  });

  test('too few bytes leaves nothing when its client vanishes', async () => {
    const before = suite.descriptors;
    for (const bytes of [Buffer.from([0x82]), frame({ opcode: 2, length: 100n }, '\0begun')]) {
      const socket = await command(['cat', '-'], 'v4.channel.k8s.io');
      socket.write(bytes);
      socket.destroySoon();
    }
    await isUnharmed(before);
  });
});

/** Proper frames whose content means nothing; the command goes on. */
const odd: Readonly<Record<string, readonly [protocol: string, ...messages: Buffer[]]>> = {
  'no content': ['v4.channel.k8s.io', frame({ opcode: 2 })],
  'a channel that there is not': ['v4.channel.k8s.io', frame({ opcode: 2 }, Buffer.from([77, 1, 2, 3]))],
  'a size of no terminal': ['v4.channel.k8s.io', frame({ opcode: 2 }, '\x04{"Width":')],
  'the output’s channel': ['v4.channel.k8s.io', frame({ opcode: 2 }, '\x01mine')],
  'the end of a channel that there is not': ['v5.channel.k8s.io', frame({ opcode: 2 }, Buffer.from([255, 77]))],
  'the end of no channel': ['v5.channel.k8s.io', frame({ opcode: 2 }, Buffer.from([255]))],
  'a channel that is no digit': ['v4.base64.channel.k8s.io', frame({ opcode: 1 }, 'xYWJj')],
  'no base64': ['v4.base64.channel.k8s.io', frame({ opcode: 1 }, '0%%%%')],
};

describe('a message with', () => {
  for (const [name, [protocol, ...messages]] of Object.entries(odd)) {
    test(`${name} is passed over`, async () => {
      const before = suite.descriptors;
      const socket = await command(['cat', '-'], protocol);
      for (const message of messages) socket.write(message);
      const base64 = protocol.includes('base64');
      socket.write(frame({ opcode: base64 ? 1 : 2 }, base64 ? '0aGVsbG8K' : '\0hello\n'));
      let got = '';
      socket.on('data', (chunk: Buffer) => {
        got += chunk.toString('latin1');
      });
      await waitFor('the command’s answer', () => got.includes(base64 ? '1aGVsbG8K' : '\x01hello\n'));
      socket.destroy();
      await isUnharmed(before);
    });
  }

  test('input after the end of its channel is passed over', async () => {
    const before = suite.descriptors;
    // It reads nothing, so that what is sent first still waits when its end comes.
    const socket = await command(['sh', '-c', ': cat -; sleep 60'], 'v5.channel.k8s.io');
    for (let n = 0; n < 8; n++) socket.write(frame({ opcode: 2 }, Buffer.alloc(30_000)));
    socket.write(frame({ opcode: 2 }, Buffer.from([255, 0])));
    for (let n = 0; n < 8; n++) socket.write(frame({ opcode: 2 }, '\0late'));
    socket.write(frame({ opcode: 9 }, 'there?'));
    let got = '';
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString('latin1');
    });
    await waitFor('the ping’s answer', () => got.includes('there?'));
    socket.destroy();
    await isUnharmed(before);
  });
});
