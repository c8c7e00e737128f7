import { describe, expect, it } from 'vitest';
import { decode, encode } from '#common/wire/codec.ts';
import { restorePathOf, taskApiOf, taskOptions } from '../../../apps/core/tasks/task-options.ts';

const root = '/state/runc';
const runc = (value: Parameters<typeof encode<'containerd.runc.v1.Options'>>[1]) => ({
  type_url: 'containerd.runc.v1.Options',
  value: encode('containerd.runc.v1.Options', value),
});
const decoded = (any: { value: Uint8Array } | null) =>
  decode('containerd.runc.v1.Options', any?.value ?? new Uint8Array());

describe('runtime options for a shim', () => {
  it("give runc a root of ours, so that a machine's containerd isn't touched", () => {
    expect(decoded(taskOptions(null, null, true, root)).root).toBe(root);
    expect(decoded(taskOptions(runc({ binaryName: 'crun' }), null, true, root))).toMatchObject({
      binaryName: 'crun',
      root,
    });
  });

  it('keep a root that the client names', () => {
    const given = runc({ root: '/elsewhere' });
    expect(taskOptions(given, null, true, root)).toBe(given);
  });

  it("are the request's before the container's", () => {
    const container = runc({ binaryName: 'runc', systemdCgroup: true });
    expect(decoded(taskOptions(runc({ binaryName: 'crun' }), container, true, root)).binaryName).toBe('crun');
    expect(decoded(taskOptions(null, container, true, root)).systemdCgroup).toBe(true);
    expect(decoded(taskOptions({ type_url: '', value: Buffer.alloc(0) }, container, true, root)).systemdCgroup).toBe(
      true,
    );
  });

  it('keep fields that are not known here', () => {
    const criuPath = Buffer.from([0x42, 0x04, ...Buffer.from('criu')]);
    const given = { type_url: 'type.googleapis.com/containerd.runc.v1.Options', value: criuPath };
    const merged = taskOptions(given, null, true, root);
    expect(merged?.type_url).toBe(given.type_url);
    expect(Buffer.from(merged?.value ?? []).includes(criuPath)).toBe(true);
    expect(decoded(merged).root).toBe(root);
  });

  it('are left alone for other shims and other types', () => {
    expect(taskOptions(null, null, false, root)).toBeNull();
    const other = { type_url: 'runtimeoptions.v1.Options', value: Buffer.from([0x0a, 0x01, 0x61]) };
    expect(taskOptions(other, null, true, root)).toBe(other);
  });
});

describe("what runc's options say to the daemon", () => {
  const optionsOf = (fields: object) => ({
    type_url: 'containerd.runc.v1.Options',
    value: encode('containerd.runc.v1.Options', fields),
  });

  it('is where a restored container starts from', () => {
    expect(restorePathOf(optionsOf({ criuImagePath: '/images' }))).toBe('/images');
    expect(restorePathOf(optionsOf({}))).toBe('');
    expect(restorePathOf(null)).toBe('');
  });

  it('is which task API has the task, unless the request does', () => {
    const options = optionsOf({ taskApiAddress: 'unix:///run/a', taskApiVersion: 3 });
    const ttrpc = { protocol: 'ttrpc' };
    expect(taskApiOf('', 0, options)).toEqual({ version: 3, address: 'unix:///run/a', ...ttrpc });
    expect(taskApiOf('unix:///run/b', 2, options)).toEqual({ version: 2, address: 'unix:///run/b', ...ttrpc });
    expect(taskApiOf('unix:///run/b', 0, null)).toEqual({ version: 2, address: 'unix:///run/b', ...ttrpc });
    expect(taskApiOf('', 0, null)).toBeUndefined();
    expect(() => taskApiOf('vsock://2:1024', 3, null)).toThrow(expect.objectContaining({ code: 'unimplemented' }));
  });
});
