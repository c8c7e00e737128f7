import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

describe.skipIf(process.getuid?.() !== 0)("a process's output", () => {
  let bed: ShimBed;
  /** Writes what it has and gets below its first argument, says that it is ready, and copies both streams. */
  let program: string;
  let count = 0;

  beforeAll(async () => {
    bed = await ShimBed.create();
    program = join(bed.dir, 'logger');
    const script = `#!/bin/sh
d=$2
env > $d-env; ls /proc/$$/fd > $d-fds; pwd > $d-cwd; echo "$*" > $d-args
[ -e "$d-mute" ] || printf x >&5
exec 5>&-
cat <&3 > $d-out & cat <&4 > $d-err
wait
echo done > $d-done
`;
    writeFileSync(program, script);
    chmodSync(program, 0o755);
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  async function running(args: readonly string[], request: object, terminal = false): Promise<Shim> {
    const shim = await bed.shim(`log-${++count}`, { args, terminal });
    await shim.create({ ...request, terminal });
    await shim.call('Start');
    return shim;
  }
  const loggerTo = (name: string, scheme = 'binary'): { stdout: string; stderr: string } => {
    const uri = `${scheme}://${program}?dir=${join(bed.dir, name)}&empty`;
    return { stdout: uri, stderr: uri };
  };
  const logged = (name: string): string => readFileSync(join(bed.dir, name), 'utf8');

  it('goes to a program, both streams apart, to the last byte', async () => {
    const shim = await running(['sh', '-c', 'head -c 300000 /dev/zero; echo oops >&2'], loggerTo('a'));
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
    await shim.call('Delete');
    expect(logged('a-out').length).toBe(300_000);
    expect(logged('a-err')).toBe('oops\n');
    expect(existsSync(join(bed.dir, 'a-done'))).toBe(true);
  });

  it('goes to a program that has an environment and descriptors of its own, and nothing of the shim', () => {
    const names = logged('a-env')
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name ?? ''))).toEqual([
      'CONTAINER_ID',
      'CONTAINER_NAMESPACE',
    ]);
    expect(logged('a-env')).toContain(`CONTAINER_ID=log-1\n`);
    expect(logged('a-env')).toContain(`CONTAINER_NAMESPACE=${bed.namespace}\n`);
    // From 10 on they are the shell's own.
    const descriptors = logged('a-fds').trim().split(/\s+/).map(Number);
    expect(descriptors.filter((fd) => fd < 10).sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(logged('a-args')).toBe(`dir ${join(bed.dir, 'a')} empty \n`);
  });

  it('of an exec goes to a program of its own, and that of a terminal too', async () => {
    const shim = await running(['sh', '-c', 'tty; exec sleep 1000'], { ...loggerTo('tty'), stderr: '' }, true);
    await shim.exec('told', ['echo', 'from exec'], loggerTo('exec'));
    await shim.call('Wait', { execId: 'told' });
    await shim.call('Delete', { execId: 'told' });
    expect(logged('exec-out')).toBe('from exec\n');
    expect(logged('exec-env')).toContain('CONTAINER_ID=told\n');
    await waitFor("the terminal's output", () => logged('tty-out') === '/dev/pts/0\r\n');
    await shim.call('Kill', { signal: 9 });
    await shim.call('Wait');
    await shim.call('Delete');
  });

  it('does not go to a program that is missing, or that does not say it is ready', async () => {
    const missing = await bed.shim('missing', { args: ['true'] });
    const uri = 'binary:///nonexistent/logger';
    await expect(missing.create({ stdout: uri, stderr: uri })).rejects.toMatchObject({ code: 'failed_precondition' });
    writeFileSync(join(bed.dir, 'mute-mute'), '');
    await expect(missing.create(loggerTo('mute', 'binary-v2'))).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(missing.create({ stdout: uri, stderr: '' })).rejects.toMatchObject({ code: 'invalid_argument' });
    await missing.create(loggerTo('mute'));
  });

  it('does not wedge Delete when a grandchild holds it', async () => {
    const shim = await running(['sleep', '1000'], {});
    await shim.exec('parent', ['sh', '-c', 'sleep 1000 & exit 3'], loggerTo('held'));
    expect(await shim.call('Wait', { execId: 'parent' })).toMatchObject({ exitStatus: 3 });
    expect(await shim.call('Delete', { execId: 'parent' })).toMatchObject({ exitStatus: 3 });
    expect(readdirSync(`/proc/${shim.pid}/fd`).length).toBeLessThan(20);
  });

  it("is the container's own where it runs as another user, which may open it again", async () => {
    const shim = await bed.shim('owned', { args: ['sh', '-c', 'echo again > /dev/stdout'], uid: 4321 });
    const stdout = bed.fifo('owned-out');
    const output = readFifo(stdout);
    await shim.create({ stdout }, 'runc', { ioUid: 4321, ioGid: 4322 });
    await shim.call('Start');
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
    expect(await output.ended).toBe('again\n');
    expect(statSync(stdout)).toMatchObject({ uid: 4321, gid: 4322 });
  });

  it('goes to a file whose folders are made', async () => {
    const path = join(bed.dir, 'deep/er/log');
    const shim = await running(['echo', 'filed'], { stdout: `file://${path}`, stderr: `file://${path}` });
    await shim.call('Wait');
    expect(readFileSync(path, 'utf8')).toBe('filed\n');
  });
});
