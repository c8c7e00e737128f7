import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Children } from '#common/child/children.ts';
import { type RunOptions, runProgram } from '#common/child/run-program.ts';
import { alive } from '../../support/container.ts';
import { waitFor } from '../../support/wait-for.ts';

const children = new Children();
const options: RunOptions = {
  env: { PATH: '/usr/bin:/bin' },
  cwd: '/',
  input: '',
  timeoutMs: 10_000,
  maxOutput: 1 << 20,
};

function sh(script: string, over: Partial<RunOptions> = {}) {
  return runProgram(children, ['sh', '-c', script], { ...options, ...over });
}

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('runProgram', () => {
  it('gives input, environment and folder, and takes outputs and exit code', async () => {
    const result = await sh('cat; pwd; echo $KEY >&2; exit 3', {
      input: 'typed\n',
      cwd: '/tmp',
      env: { ...options.env, KEY: 'value', GONE: undefined },
    });
    expect(result).toMatchObject({ code: 3, signal: null, stopped: undefined });
    expect(String(result.stdout)).toBe('typed\n/tmp\n');
    expect(String(result.stderr)).toBe('value\n');
  });

  it('gives nothing but what was asked for: environment, descriptors, ignored signals', async () => {
    process.env.BERTH_TEST_SECRET = 'x';
    const { stdout } = await sh('env; ls /proc/self/fd; grep SigIgn /proc/self/status');
    delete process.env.BERTH_TEST_SECRET;
    expect(String(stdout)).not.toContain('BERTH_TEST_SECRET');
    // 3 is the folder that ls reads. The C library keeps signals 32 and 33 to itself.
    expect(String(stdout)).toMatch(/\n0\n1\n2\n3\nSigIgn:\s+[01]+[08]0{7}\n$/);
  });

  it('takes large input and output', async () => {
    const input = Buffer.alloc(900_000, 'abc');
    const { stdout } = await sh('cat', { input });
    expect(stdout.equals(input)).toBe(true);
  });

  it('keeps no more than it was told, and lets the program go on', async () => {
    const result = await sh('head -c 500000 /dev/zero; echo end >&2', { maxOutput: 1000 });
    expect(result).toMatchObject({ code: 0 });
    expect(result.stdout).toHaveLength(1000);
    expect(String(result.stderr)).toBe('end\n');
  });

  it('kills the program and what it started after the timeout, and keeps what it said', async () => {
    const result = await sh('echo begun; sleep 1000 & echo $!; wait', { timeoutMs: 100 });
    expect(result).toMatchObject({ code: null, signal: 9, stopped: 'timeout' });
    const [begun, pid] = String(result.stdout).split('\n');
    expect(begun).toBe('begun');
    await waitFor('its child to end', () => !alive(Number(pid)));
  });

  it('kills the program when the signal aborts, before or during', async () => {
    const controller = new AbortController();
    const running = sh('sleep 1000', { signal: controller.signal });
    controller.abort();
    expect(await running).toMatchObject({ signal: 9, stopped: 'aborted' });
    expect(await sh('sleep 1000', { signal: controller.signal })).toMatchObject({ stopped: 'aborted' });
  });

  it('does not wait for a child that keeps the output open', async () => {
    const result = await sh('sleep 1000 & echo $!');
    expect(result).toMatchObject({ code: 0 });
    process.kill(Number(String(result.stdout)), 'SIGKILL');
  });

  it('throws when there is no such program, and holds no descriptor afterwards', async () => {
    await sh('true');
    const before = openFiles();
    await expect(runProgram(children, ['/no/such/program'], options)).rejects.toMatchObject({ code: 'ENOENT' });
    for (let round = 0; round < 5; round++) await sh('echo x');
    expect(openFiles()).toBe(before);
  });

  it('tells the exits of many apart and listens for none when none runs', async () => {
    const codes = Array.from({ length: 40 }, (_, index) => index);
    const results = await Promise.all(codes.map((code) => sh(`exit ${code}`)));
    expect(results.map(({ code }) => code)).toEqual(codes);
    expect(process.listenerCount('SIGCHLD')).toBe(0);
  });
});
