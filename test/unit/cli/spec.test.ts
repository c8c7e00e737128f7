import { describe, expect, test } from 'vitest';
import { execProcess, type SpecChoice, specOf } from '../../../apps/cli/tasks/spec.ts';

const choice: SpecChoice = { tty: false, env: [], cgroupsPath: '/ns/id', hostNetwork: false };
const image = { config: { Entrypoint: ['/bin/tool'], Cmd: ['serve'], Env: ['A=1'], WorkingDir: '/srv', User: '5:6' } };

describe('the spec of a container', () => {
  test('runs what the image says', () => {
    expect(specOf(image, [], choice).process).toMatchObject({
      args: ['/bin/tool', 'serve'],
      env: [expect.stringMatching(/^PATH=/), 'A=1'],
      cwd: '/srv',
      user: { uid: 5, gid: 6 },
      terminal: false,
    });
  });

  test('runs what the operator says instead, after the image’s entry point', () => {
    const { process } = specOf(image, ['x'], {
      ...choice,
      tty: true,
      env: ['B=2'],
      cwd: '/',
      user: { uid: 1, gid: 1 },
    });
    expect(process).toMatchObject({ args: ['/bin/tool', 'x'], cwd: '/', user: { uid: 1 }, terminal: true });
    expect(process?.env?.slice(1)).toEqual(['A=1', 'TERM=xterm', 'B=2']);
  });

  test('has a network of its own unless the host’s is asked for', () => {
    const types = (hostNetwork: boolean) =>
      specOf(image, [], { ...choice, hostNetwork }).linux?.namespaces?.map(({ type }) => type);
    expect(types(false)).toContain('network');
    expect(types(true)).not.toContain('network');
  });

  test('grants nothing by inheritance, and no devices', () => {
    const { process, linux } = specOf(image, [], choice);
    expect(Object.keys(process?.capabilities ?? {}).sort()).toEqual(['bounding', 'effective', 'permitted']);
    expect(process?.noNewPrivileges).toBe(true);
    expect(linux?.resources?.devices).toEqual([{ allow: false, access: 'rwm' }]);
  });

  test('is refused for an image without a command, or with a user that only its files know', () => {
    expect(() => specOf({}, [], choice)).toThrow('names no command');
    expect(() => specOf({ config: { Cmd: ['x'], User: 'app' } }, [], choice)).toThrow('--user UID:GID');
    expect(specOf({ config: { Cmd: ['x'], User: 'root' } }, [], choice).process?.user).toEqual({ uid: 0, gid: 0 });
  });
});

test('a further process is like the container’s own, with another command', () => {
  const spec = specOf(image, [], choice);
  const process = execProcess(spec, ['ps'], { tty: false, env: ['C=3'] });
  expect(process).toEqual({ ...spec.process, args: ['ps'], env: [...(spec.process?.env ?? []), 'C=3'] });
  expect(() => execProcess({ ociVersion: '1' }, ['ps'], choice)).toThrow('no process');
});
