import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import * as native from '#common/native/index.ts';

const { EPOLL, LOCK, MNT, MS, RESOLVE, W } = native;
const isRoot = process.getuid?.() === 0;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-native-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('errors', () => {
  it('carry code, errno, syscall and path as Node has them', () => {
    expect(() => native.mkfifo('/nonexistent/fifo', 0o600)).toThrow(
      expect.objectContaining({ code: 'ENOENT', errno: -2, syscall: 'mkfifo', path: '/nonexistent/fifo' }),
    );
  });

  it('tell of arguments that make no sense', () => {
    expect(() => native.mkfifo('a\0b', 0o600)).toThrow(TypeError);
    expect(() => native.mkfifo(7 as unknown as string, 0o600)).toThrow(TypeError);
    expect(() => native.close('x' as unknown as number)).toThrow(TypeError);
  });
});

describe('processes', () => {
  it('run with the given descriptors, environment and folder and no others', () => {
    const [read, write] = native.pipe(0);
    const script = 'pwd; echo $ONLY; ls /proc/self/fd | wc -l; env | wc -l';
    const pid = native.spawn(
      ['sh', '-c', script],
      ['ONLY=this', `PATH=${process.env.PATH}`],
      '/tmp',
      [0, write, write],
      true,
    );
    native.close(write);
    expect(native.waitpid(pid, 0)).toMatchObject({ pid, exitCode: 0, signal: null });
    const [cwd, only, descriptors] = readFileSync(read, 'utf8').split('\n');
    native.close(read);
    expect([cwd, only]).toEqual(['/tmp', 'this']);
    // 0, 1, 2 and the one that ls has opened
    expect(Number(descriptors)).toBe(4);
  });

  it('are collected with exit code or signal', () => {
    const exits = native.spawn(['sh', '-c', 'exit 7'], [], null, [0, 1, 2], false);
    expect(native.waitpid(exits, 0)).toMatchObject({ exitCode: 7, signal: null });
    const sleeps = native.spawn(['sleep', '100'], [], null, [0, 1, 2], false);
    expect(native.waitpid(sleeps, W.NOHANG)).toBeNull();
    const pidfd = native.pidfdOpen(sleeps);
    native.pidfdSendSignal(pidfd, 9);
    native.close(pidfd);
    expect(native.waitpid(sleeps, 0)).toMatchObject({ exitCode: null, signal: 9 });
    expect(() => native.waitpid(sleeps, 0)).toThrow(expect.objectContaining({ code: 'ECHILD' }));
  });

  it('that cannot be started are reported by name', () => {
    expect(() => native.spawn(['nonexistent-program'], [], null, [], false)).toThrow(
      expect.objectContaining({ code: 'ENOENT', path: 'nonexistent-program' }),
    );
    expect(() => native.spawn(['true'], [], null, [9999], false)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('know their capabilities', () => {
    const mask = BigInt(`0x${/^CapEff:\s+(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`);
    expect(native.getCapEffective()).toBe(mask);
  });
});

describe('files', () => {
  it('FIFOs are made, opened without waiting, and tell how much they hold', () => {
    const path = join(dir, 'fifo');
    native.mkfifo(path, 0o620);
    expect(statSync(path).isFIFO()).toBe(true);
    const reader = native.open(path, constants.O_RDONLY | constants.O_NONBLOCK, 0);
    const writer = native.open(path, constants.O_WRONLY, 0);
    writeSync(writer, 'twelve bytes');
    expect(native.fionread(reader)).toBe(12);
    native.setNonblock(writer, true);
    native.setNonblock(reader, false);
    for (const fd of [reader, writer]) native.close(fd);
  });

  it('what a file has in memory is read without waiting', () => {
    const path = join(dir, 'cached');
    writeFileSync(path, 'in memory');
    const fd = native.open(path, constants.O_RDONLY, 0);
    const into = Buffer.alloc(20);
    expect(native.readCached(fd, into, 3)).toBe(6);
    expect(into.toString('latin1', 0, 6)).toBe('memory');
    expect(native.readCached(fd, into, 9)).toBe(0);
    native.close(fd);
    expect(() => native.readCached(fd, into, 0)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('splice moves bytes and tells end of file from nothing yet', () => {
    const [read, write] = native.pipe(constants.O_NONBLOCK);
    const path = join(dir, 'spliced');
    const file = openSync(path, 'w');
    expect(native.splice(read, file, 100, 0)).toBe(-1);
    writeSync(write, 'moved');
    expect(native.splice(read, file, 100, 0)).toBe(5);
    native.close(write);
    expect(native.splice(read, file, 100, 0)).toBe(0);
    native.close(read);
    closeSync(file);
    expect(readFileSync(path, 'utf8')).toBe('moved');
  });

  it('descriptors are close-on-exec unless told otherwise', () => {
    const fd = native.memfd('test');
    const flags = (): string => /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
    expect(Number.parseInt(flags(), 8) & native.O.CLOEXEC).not.toBe(0);
    native.setCloexec(fd, false);
    expect(Number.parseInt(flags(), 8) & native.O.CLOEXEC).toBe(0);
    const second = native.dup(fd);
    expect(second).not.toBe(fd);
    for (const one of [fd, second]) native.close(one);
  });

  it('locks are held once', () => {
    const path = join(dir, 'lock');
    const first = native.open(path, constants.O_CREAT | constants.O_RDWR, 0o600);
    const second = native.open(path, constants.O_RDWR, 0);
    expect(native.flock(first, LOCK.EXCLUSIVE)).toBe(true);
    expect(native.flock(second, LOCK.EXCLUSIVE)).toBe(false);
    expect(native.flock(first, LOCK.UNLOCK)).toBe(true);
    expect(native.flock(second, LOCK.EXCLUSIVE)).toBe(true);
    for (const fd of [first, second]) native.close(fd);
  });

  it('paths can be resolved without leaving a folder', () => {
    mkdirSync(join(dir, 'root'));
    symlinkSync('/etc', join(dir, 'root/out'));
    const root = native.open(join(dir, 'root'), constants.O_RDONLY | constants.O_DIRECTORY, 0);
    expect(() => native.openat2(root, 'out/passwd', constants.O_RDONLY, 0, RESOLVE.BENEATH)).toThrow(
      expect.objectContaining({ code: 'EXDEV' }),
    );
    expect(() => native.openat2(root, '../x', constants.O_RDONLY, 0, RESOLVE.IN_ROOT)).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
    native.close(root);
  });

  it('times are set to the nanosecond, on a symlink itself', () => {
    const link = join(dir, 'link');
    symlinkSync('nowhere', link);
    native.lutimens(link, 1, 2, 1_600_000_000, 123_456_789);
    expect(lstatSync(link, { bigint: true }).mtimeNs).toBe(1_600_000_000_123_456_789n);
  });

  it.skipIf(!isRoot)('extended attributes are written, read and listed', () => {
    const path = join(dir, 'attributed');
    writeFileSync(path, '');
    native.lsetxattr(path, 'trusted.berth', Buffer.from([0, 1, 255]), 0);
    expect(native.lgetxattr(path, 'trusted.berth')).toEqual(Buffer.from([0, 1, 255]));
    expect(native.lgetxattr(path, 'trusted.other')).toBeNull();
    expect(native.llistxattr(path)).toContain('trusted.berth');
  });

  it.skipIf(!isRoot)('device nodes are made as told', () => {
    const path = join(dir, 'null');
    native.mknod(path, 0o020644, 1, 3);
    expect(statSync(path)).toMatchObject({ rdev: 0x103 });
  });
});

describe.skipIf(!isRoot)('mounts', () => {
  it('are made and undone', () => {
    const path = join(dir, 'tmpfs');
    mkdirSync(path);
    native.mount('tmpfs', path, 'tmpfs', MS.NOSUID | MS.NODEV, 'size=64k');
    writeFileSync(join(path, 'inside'), 'x');
    native.umount(path, MNT.UMOUNT_NOFOLLOW);
    expect(readdirSync(path)).toEqual([]);
    expect(() => native.umount(path, 0)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('take relative paths from a folder, without a change of the working directory', () => {
    const base = join(dir, 'overlay');
    for (const name of ['a', 'b', 'up', 'work', 'merged']) mkdirSync(join(base, name), { recursive: true });
    writeFileSync(join(base, 'a/from-a'), '');
    writeFileSync(join(base, 'b/from-b'), '');
    const before = process.cwd();
    native.mount('overlay', 'merged', 'overlay', 0, 'lowerdir=a:b,upperdir=up,workdir=work', base);
    expect(readdirSync(join(base, 'merged')).sort()).toEqual(['from-a', 'from-b']);
    expect(process.cwd()).toBe(before);
    native.umount(join(base, 'merged'), 0);
  });

  it('network namespaces are pinned with lo up, refused twice, and let go', async () => {
    const path = join(dir, 'netns');
    await native.netnsCreate(path);
    await expect(native.netnsCreate(path)).rejects.toMatchObject({ code: 'EEXIST', path });
    const [read, write] = native.pipe(0);
    const pid = native.spawn(
      ['nsenter', `--net=${path}`, 'cat', '/sys/class/net/lo/operstate', '/proc/net/dev'],
      [`PATH=${process.env.PATH}`],
      null,
      [0, write, write],
      false,
    );
    native.close(write);
    native.waitpid(pid, 0);
    expect(readFileSync(read, 'utf8').match(/^\s*\w+:/gm)).toHaveLength(1);
    native.close(read);
    native.netnsDelete(path);
    native.netnsDelete(path);
    expect(existsSync(path)).toBe(false);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(path);
  });

  it('a network namespace that cannot be pinned leaves nothing', async () => {
    await expect(native.netnsCreate(join(dir, 'no/folder'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('sockets and waiting', () => {
  it('a socket has its mode from the start, takes connections and bytes, and never blocks', () => {
    const path = join(dir, 'socket');
    const listener = native.unixListen(path, 0o600);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(native.unixAccept(listener)).toBeNull();
    const client = native.unixConnect(path);
    const server = native.unixAccept(listener) ?? -1;
    const buffer = Buffer.alloc(10);
    expect(native.recv(server, buffer)).toBe(-1);
    expect(native.recvFd(server)).toBeNull();
    expect(native.send(client, Buffer.from('hello'))).toBe(5);
    expect(native.recv(server, buffer)).toBe(5);
    native.close(client);
    expect(native.recv(server, buffer)).toBe(0);
    expect(() => native.send(server, Buffer.from('x'))).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    for (const fd of [server, listener]) native.close(fd);
    expect(() => native.unixConnect(path)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }));
    expect(() => native.unixListen(`/tmp/${'x'.repeat(200)}`, 0o600)).toThrow(
      expect.objectContaining({ code: 'ENAMETOOLONG' }),
    );
  });

  it('a packet takes a descriptor along, and fails once nobody has the other end', () => {
    const [one, other] = native.packetPair();
    const [read, write] = native.pipe(0);
    native.sendFd(one, 'take this', write);
    native.close(write);
    const taken = native.recvFd(other) ?? -1;
    native.writeAll(taken, Buffer.from('through it'));
    native.close(taken);
    expect(native.readAll(read).toString()).toBe('through it');
    native.close(other);
    expect(() => native.sendFd(one, 'x', read)).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    expect(() => native.sendFd(one, 'x', -1)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    for (const fd of [one, read]) native.close(fd);
  });

  it('small files of a folder are read together, as far as they are there', () => {
    const folder = mkdtempSync(join(tmpdir(), 'berth-small-'));
    writeFileSync(join(folder, 'one'), '1\n');
    writeFileSync(join(folder, 'none'), '');
    writeFileSync(join(folder, 'long'), ` ${'line\n'.repeat(5000)}\n`);
    const long = ` ${'line\n'.repeat(5000)}`.trimEnd();
    expect(native.readSmall(folder, ['long', 'absent', 'none', 'one'])).toEqual([long, undefined, '', '1']);
    expect(native.readSmall(folder, ['one'])).toEqual(['1']);
    expect(native.readSmall(folder, ['absent'])).toEqual([undefined]);
    expect(native.readSmall(`${folder}/absent`, ['one', 'two'])).toEqual([undefined, undefined]);
    for (const names of [['.'], ['one', '.']]) {
      expect(() => native.readSmall(folder, names)).toThrow(expect.objectContaining({ code: 'EISDIR' }));
    }
    rmSync(folder, { recursive: true });
  });

  it('a process with other threads is not forked', () => {
    const [one, other] = native.packetPair();
    const busy = expect.objectContaining({ code: 'EBUSY' });
    expect(() => native.forkOnRequest(other, Buffer.alloc(0))).toThrow(busy);
    expect(() => native.fork()).toThrow(busy);
    for (const fd of [one, other]) native.close(fd);
  });

  it('the memory for a fork has what was written to, and parts of files, but nothing that was only reserved', () => {
    const written = Buffer.alloc(1 << 20, 1);
    const reserved = Buffer.alloc(1 << 24);
    const memory = native.memoryOfFork();
    let bytes = 0;
    const advice = new Set<number>();
    for (let at = 0; at < memory.length; at += 24) {
      expect(memory.readBigUInt64LE(at) % 4096n).toBe(0n);
      bytes += Number(memory.readBigUInt64LE(at + 8));
      advice.add(memory.readInt32LE(at + 16));
    }
    expect(bytes).toBeGreaterThan(written.length);
    expect(bytes).toBeLessThan(process.memoryUsage().rss);
    expect(reserved[0]).toBe(0);
    // To be made there for reading, of files, and for writing (madvise(2)).
    expect(advice).toEqual(new Set([22, 23]));
  });

  it('epoll fills pairs of descriptor and events', () => {
    const epoll = native.epollCreate();
    const event = native.eventfd();
    const out = new Int32Array(16);
    native.epollAdd(epoll, event, EPOLL.IN);
    expect(native.epollWait(epoll, 0, out)).toBe(0);
    native.eventfdSignal(event);
    native.eventfdSignal(event);
    expect(native.epollWait(epoll, 1000, out)).toBe(1);
    expect([...out.subarray(0, 2)]).toEqual([event, EPOLL.IN]);
    expect(native.eventfdDrain(event)).toBe(2);
    expect(native.eventfdDrain(event)).toBe(0);
    native.epollMod(epoll, event, EPOLL.OUT);
    expect(native.epollWait(epoll, 0, out)).toBe(1);
    native.epollDel(epoll, event);
    expect(native.epollWait(epoll, 0, out)).toBe(0);
    for (const fd of [epoll, event]) native.close(fd);
  });

  it('an epoll that a thread watches is told of by a signal each time that something becomes ready', async () => {
    let told = 0;
    const count = (): void => void told++;
    process.on('SIGURG', count);
    const waiting = setInterval(() => undefined, 1000);
    try {
      const epoll = native.epollWatch(osConstants.signals.SIGURG);
      const events = [native.eventfd(), native.eventfd()] as const;
      const out = new Int32Array(16);
      for (const event of events) native.epollAdd(epoll, event, EPOLL.IN | EPOLL.ONESHOT);
      const toldOf = async (act: () => void): Promise<void> => {
        const before = told;
        act();
        await vi.waitFor(() => expect(told).toBeGreaterThan(before), 10_000);
      };
      for (const event of events) await toldOf(() => native.eventfdSignal(event));
      expect(native.epollWait(epoll, 0, out)).toBe(2);
      expect(native.epollWait(epoll, 0, out)).toBe(0);
      await toldOf(() => native.epollMod(epoll, events[1], EPOLL.IN | EPOLL.ONESHOT));
      expect(() => native.epollWatch(osConstants.signals.SIGURG)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
      for (const fd of [epoll, ...events]) native.close(fd);
    } finally {
      clearInterval(waiting);
      process.off('SIGURG', count);
    }
  });

  it('a notification that nobody takes is an error', async () => {
    expect(() => native.sdNotify(join(dir, 'nobody'), 'READY=1')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    const stream = createServer();
    await new Promise<void>((resolve) => stream.listen(join(dir, 'stream'), resolve));
    expect(() => native.sdNotify(join(dir, 'stream'), 'READY=1')).toThrow(
      expect.objectContaining({ code: 'EPROTOTYPE' }),
    );
    stream.close();
  });
});
