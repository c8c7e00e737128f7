import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Bundle } from '../../../apps/core/tasks/bundle.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const spec = Buffer.from('{"ociVersion":"1.0.2"}');

describe('a bundle', () => {
  const dir = scratchDir();
  let count = 0;
  const make = () => new Bundle(dir, 'default', `task-${++count}`);
  afterAll(() => removeScratch(dir));

  it('holds the specification, an empty rootfs, a log FIFO and the name of the shim, for its owner only', () => {
    const bundle = make();
    bundle.create(spec, '/usr/bin/shim');
    expect(readFileSync(join(bundle.path, 'config.json'))).toEqual(spec);
    expect(statSync(bundle.path).mode & 0o777).toBe(0o700);
    expect(statSync(bundle.rootfs).isDirectory()).toBe(true);
    expect(statSync(bundle.logFifo).isFIFO()).toBe(true);
  });

  it('is refused a second time', () => {
    const bundle = make();
    bundle.create(spec, 'shim');
    expect(() => bundle.create(spec, 'shim')).toThrow(expect.objectContaining({ code: 'already_exists' }));
  });

  it.skipIf(process.getuid?.() !== 0)("lets the container's own group in when ids are mapped", () => {
    const bundle = make();
    const gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    bundle.create(Buffer.from(JSON.stringify({ linux: { gidMappings } })), 'shim');
    const { mode, gid } = statSync(bundle.path);
    expect([mode & 0o777, gid]).toEqual([0o710, 100_000]);
  });

  it('tells after a restart what was written before it', async () => {
    const bundle = make();
    bundle.create(spec, '/usr/bin/shim');
    const nothing = {
      shimBinary: '/usr/bin/shim',
      group: bundle.id,
      bootstrap: undefined,
      address: undefined,
      exit: undefined,
    };
    expect(await bundle.facts()).toEqual({ ...nothing, created: false });
    const bootstrap = { version: 3, address: 'unix:///run/x', protocol: 'ttrpc' } as const;
    const exit = { pid: 7, exitStatus: 3, exitedAt: { seconds: '9007199254740993', nanos: 1 } };
    bundle.recordBootstrap(bootstrap);
    bundle.recordCreated();
    bundle.recordExit(exit);
    expect(await bundle.facts()).toEqual({ ...nothing, bootstrap, created: true, exit });
    await bundle.recordDeleted();
    await bundle.recordDeleted();
    expect((await bundle.facts()).created).toBe(false);
  });

  it('takes a file that a kill left empty for one that is not there', async () => {
    const bundle = make();
    mkdirSync(bundle.path, { recursive: true });
    for (const name of ['shim-binary-path', 'bootstrap.json', 'exit.json']) writeFileSync(join(bundle.path, name), '');
    expect(await bundle.facts()).toMatchObject({ shimBinary: undefined, bootstrap: undefined, exit: undefined });
  });

  it('is removed whole, twice without complaint', async () => {
    const bundle = make();
    bundle.create(spec, 'shim');
    await bundle.remove();
    await bundle.remove();
    expect(existsSync(bundle.path)).toBe(false);
  });

  it('never removes what is in its rootfs', async () => {
    const bundle = make();
    bundle.create(spec, 'shim');
    const data = join(bundle.rootfs, 'data');
    writeFileSync(data, 'precious');
    await expect(bundle.remove()).rejects.toThrow('rootfs');
    expect(readFileSync(data, 'utf8')).toBe('precious');
  });
});
