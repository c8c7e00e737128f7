import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MS, mount } from '#common/native/index.ts';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { waitFor } from '../support/wait-for.ts';

const main = new URL('../../apps/cri-shim/main.ts', import.meta.url).pathname;

describe('berth-cri doesn’t start, and says why, with', () => {
  const dir = scratchDir();
  afterAll(() => removeScratch(dir));

  function start(toml: string, ...flags: string[]): string {
    const config = join(dir, 'cri.toml');
    writeFileSync(config, toml);
    const args = [main, '--config', config, '--root', join(dir, 'root'), '--state', join(dir, 'state'), ...flags];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
    expect(status).toBe(1);
    return stderr;
  }

  it('a key that it doesn’t know: file, line, key and the nearest that it knows', () => {
    expect(start('root = "/x"\n\n[cni]\nconf_dirr = "/y"\n')).toMatch(/cri\.toml:4: .*"cni\.conf_dirr".*"conf_dir"/);
  });

  it('values that can’t be', () => {
    expect(start('cgroup_driver = "magic"\n')).toMatch(/cri\.toml:1: .*auto, systemd, cgroupfs/);
    expect(start('[cni]\nconf_dir = "net.d"\n')).toContain('cni.conf_dir: "net.d" must be an absolute path');
    expect(start('default_runtime = "warp"\n')).toContain('no runtime handler "warp"');
    expect(start('', '--colour', 'red')).toContain('usage: berth-cri');
  });

  it('a directory that can’t be written', () => {
    const readonly = join(dir, 'readonly');
    mkdirSync(readonly);
    mount('tmpfs', readonly, 'tmpfs', MS.RDONLY, null);
    const said = start('', '--state', join(readonly, 'state'));
    expect(said).toContain(`state directory ${readonly}/state is unusable`);
    expect(said).toMatch(/read-only file system/i);
  });

  it('a file that isn’t there', () => {
    const args = [main, '--config', join(dir, 'nowhere.toml')];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
    expect(status).toBe(1);
    expect(stderr).toContain('nowhere.toml');
  });
});

describe('berth-cri with a state directory that is full', () => {
  const small = (dir: string) => join(dir, 'small');
  const suite = useCri((dir) => {
    mkdirSync(small(dir));
    mount('tmpfs', small(dir), 'tmpfs', 0, 'size=4m,nr_inodes=300');
    return { state: small(dir) };
  });
  let clean: LeakSnapshot;

  beforeAll(async () => {
    clean = await suite.clean();
  });

  /** Uses up all inodes. */
  function fill(): void {
    const dir = join(small(suite.dir), 'fill');
    mkdirSync(dir);
    for (let i = 0; ; i += 1) {
      try {
        writeFileSync(join(dir, String(i)), '');
      } catch {
        return;
      }
    }
  }

  function empty(): void {
    rmSync(join(small(suite.dir), 'fill'), { recursive: true });
  }

  it('refuses pods and containers, leaves nothing of them, and goes on when there is room again', async () => {
    fill();
    await expect(suite.runPod(suite.podConfig())).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: expect.stringMatching(/no space left on device/i),
    });
    empty();
    await expectNoLeaks(suite.scope, clean);

    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const containerId = await suite.create(id, pod, suite.containerConfig('c', 'echo here'));
    fill();
    await expect(suite.cri.runtime.startContainer({ containerId })).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
    expect(await suite.status(containerId)).toMatchObject({ state: 'CONTAINER_EXITED', reason: 'StartError' });
    empty();
    await suite.start(id, pod, suite.containerConfig('d', 'echo here'));
    await suite.logged(pod, 'd', 'here');
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('keeps a second berth-cri out of its directories', () => {
    const config = join(suite.dir, 'cri.toml');
    const { status, stderr } = spawnSync(process.execPath, [main, '--config', config], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(status).toBe(1);
    expect(stderr).toContain('in use by another');
  });
});

describe('berth-cri as a service', () => {
  const suite = useCri();

  it('waits for berthd, and says in Status when that is gone', async () => {
    const { daemon } = suite.berth.berthd;
    await daemon.stop();
    const { status } = await suite.cri.runtime.status({}, { timeoutMs: 20_000 });
    expect(status?.conditions[0]).toMatchObject({
      type: 'RuntimeReady',
      status: false,
      reason: 'CoreUnavailable',
      message: expect.stringContaining(suite.berth.berthd.socket),
    });
    // Lists are answered from memory.
    expect((await suite.cri.runtime.listPodSandbox({})).items).toEqual([]);
    const starting = suite.berth.cri.restart();
    await sleep(500);
    await daemon.start();
    await starting;
    // It serves before it is ready: images of the drop directory come first.
    await waitFor('readiness', async () => {
      return (await suite.cri.runtime.status({}, { waitForReady: true })).status?.conditions[0]?.status;
    });
  });

  it('stops on SIGTERM and leaves pods alone', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    await suite.start(id, pod, suite.containerConfig('c', 'while :; do echo tick; sleep 0.05; done'));
    await suite.logged(pod, 'c', 'tick');
    await suite.berth.cri.restart();
    expect((await suite.cri.runtime.listPodSandbox({}, { waitForReady: true })).items).toMatchObject([
      { id, state: 'SANDBOX_READY' },
    ]);
    await suite.removePod(id);
  });

  it('has a socket and directories for nobody else', () => {
    const modes = execFileSync(
      'stat',
      ['-c', '%a', suite.berth.criSocket, join(suite.dir, 'state', 'cri', 'containers')],
      {
        encoding: 'utf8',
      },
    );
    expect(modes).toBe('600\n700\n');
    expect(readdirSync(join(suite.dir, 'state', 'cri'))).toContain('netns');
  });
});
