import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '#common/log.ts';
import { typeUrls } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { Bundle } from '../../../apps/core/tasks/bundle.ts';
import { ShimCommand } from '../../../apps/core/tasks/shim-command.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

describe("a shim's command line", () => {
  const dir = scratchDir();
  const command = new ShimCommand({
    address: '/run/d.sock',
    ttrpcAddress: '/run/d.sock.ttrpc',
    socketDir: join(dir, 's'),
    addon: join(dir, 'berth-native.node'),
    templateDir: join(dir, 'template'),
    debug: true,
    log: silentLogger(),
  });
  const bundle = new Bundle(join(dir, 'tasks'), 'default', 'web');
  const options = {
    type_url: typeUrls.runcOptions,
    value: encode('containerd.runc.v1.Options', { binaryName: 'crun' }),
  };
  const result = Buffer.from(
    encode('containerd.runtime.bootstrap.v1.BootstrapResult', {
      version: 3,
      address: 'unix:///run/x',
      protocol: 'ttrpc',
    }),
  );

  /** A shim that is a shell script. */
  function shim(name: string, script: string): string {
    const path = join(dir, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  beforeAll(() => bundle.create(Buffer.from('{}'), 'shim'));
  afterAll(async () => {
    await bundle.remove();
    removeScratch(dir);
  });

  it('runs in the bundle, with the flags and variables that shims expect and nothing else of ours', async () => {
    process.env.BERTH_TEST_SECRET = 'x';
    const binary = shim('flags', `pwd > ${dir}/cwd; echo "$@" > ${dir}/args; env > ${dir}/env; echo unix:///run/x`);
    expect(await command.start(binary, bundle, 'web', null)).toEqual({
      version: 2,
      address: 'unix:///run/x',
      protocol: 'ttrpc',
    });
    delete process.env.BERTH_TEST_SECRET;
    const read = (name: string) => readFileSync(join(dir, name), 'utf8').trim();
    expect(read('cwd')).toBe(bundle.path);
    expect(read('args')).toBe(
      `-namespace default -address /run/d.sock -id web -debug -publish-binary ${process.execPath} start`,
    );
    expect(read('env')).toContain('TTRPC_ADDRESS=/run/d.sock.ttrpc');
    expect(read('env')).toContain(`BERTH_SHIM_SOCKET_DIR=${join(dir, 's')}`);
    expect(read('env')).not.toContain('SECRET');
  });

  it('is not confused by warnings on stderr', async () => {
    const binary = shim('warns', 'echo "level=warning msg=odd" >&2; echo unix:///run/x');
    expect((await command.start(binary, bundle, 'web', null)).address).toBe('unix:///run/x');
  });

  it('gives the options to an old shim as a bare Any', async () => {
    const binary = shim('old', `cat > ${dir}/stdin; echo unix:///run/x`);
    await command.start(binary, bundle, 'web', options);
    const any = decode('google.protobuf.Any', readFileSync(join(dir, 'stdin')));
    expect(any.type_url).toBe(options.type_url);
    expect(decode('containerd.runc.v1.Options', any.value).binaryName).toBe('crun');
  });

  it('gives BootstrapParams to a shim that asks for them, and remembers that it does', async () => {
    writeFileSync(join(dir, 'result'), result);
    const script = `echo x >> ${dir}/calls; cat > ${dir}/params
      grep -q 'd.sock.ttrpc' ${dir}/params || { echo 'shim was started through the deprecated API' >&2; exit 1; }
      cat ${dir}/result`;
    const binary = shim('new', script);
    for (let round = 0; round < 2; round++) {
      const answer = await command.start(binary, bundle, 'web', options);
      expect(answer).toEqual({ version: 3, address: 'unix:///run/x', protocol: 'ttrpc' });
    }
    expect(readFileSync(join(dir, 'calls'), 'utf8')).toBe('x\n'.repeat(3));
    const params = decode('containerd.runtime.bootstrap.v1.BootstrapParams', readFileSync(join(dir, 'params')));
    expect(params).toMatchObject({ instanceId: 'web', namespace: 'default', socketDir: join(dir, 's') });
    expect(params.extensions[0]?.value?.type_url).toBe(options.type_url);
  });

  it('fails with the words of the shim', async () => {
    const binary = shim('fails', 'echo "no space for a shim" >&2; exit 3');
    const failure = { code: 'unknown', message: expect.stringContaining('no space for a shim: exit status 3') };
    await expect(command.start(binary, bundle, 'web', null)).rejects.toMatchObject(failure);
    await expect(command.delete(binary, bundle)).rejects.toMatchObject(failure);
    await expect(command.start(join(dir, 'none'), bundle, 'web', null)).rejects.toMatchObject({
      message: expect.stringContaining('ENOENT'),
    });
  });

  it('is killed when the caller gives up', async () => {
    const binary = shim('hangs', 'exec sleep 100');
    const abort = new AbortController();
    const starting = command.start(binary, bundle, 'web', null, abort.signal);
    abort.abort();
    await expect(starting).rejects.toMatchObject({ code: 'canceled' });
  });

  it('has answered when the command has ended, even if a child of it holds the pipe', async () => {
    const binary = shim('leaves', `sleep 100 & echo $! > ${dir}/child; echo unix:///run/x`);
    expect((await command.start(binary, bundle, 'web', null)).address).toBe('unix:///run/x');
    process.kill(Number(readFileSync(join(dir, 'child'), 'utf8')));
  });

  it('says on delete how the init process ended, killed when the shim does not know', async () => {
    const exitedAt = { seconds: '1795242649', nanos: 5 };
    writeFileSync(
      join(dir, 'deleted'),
      encode('containerd.task.v2.DeleteResponse', { pid: 7, exitStatus: 137, exitedAt }),
    );
    const knows = shim('knows', `cat ${dir}/deleted`);
    expect(await command.delete(knows, bundle)).toEqual({ pid: 7, exitStatus: 137, exitedAt });
    expect(await command.delete(shim('silent', ''), bundle)).toMatchObject({ pid: 0, exitStatus: 137 });
  });

  it('hands the options to a shim that is asked about itself, outside of any bundle', async () => {
    const binary = shim('info', `echo "$@" > ${dir}/info-args; cat > ${dir}/info-stdin; printf told`);
    expect((await command.info(binary, options)).toString()).toBe('told');
    expect(readFileSync(join(dir, 'info-args'), 'utf8')).toBe('-info\n');
    expect(decode('google.protobuf.Any', readFileSync(join(dir, 'info-stdin'))).type_url).toBe(options.type_url);
    const failing = shim('no-info', 'echo "flag not defined: -info" >&2; exit 2');
    await expect(command.info(failing, null)).rejects.toMatchObject({
      code: 'unknown',
      message: expect.stringContaining('flag not defined: -info: exit status 2'),
    });
  });
});
