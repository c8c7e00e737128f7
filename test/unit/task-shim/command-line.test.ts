import { describe, expect, it } from 'vitest';
import { parseCommandLine } from '../../../apps/task-shim/command-line.ts';

describe("the shim's command line", () => {
  it('takes what containerd passes', () => {
    const args = '-namespace k8s.io -address /run/c.sock -publish-binary /bin/c -id abc -bundle /b -debug delete';
    expect(parseCommandLine(args.split(' '))).toEqual({
      action: 'delete',
      namespace: 'k8s.io',
      id: 'abc',
      address: '/run/c.sock',
      bundle: '/b',
      socket: '',
      debug: true,
    });
  });

  it('knows both dashes and inline values, as Go does', () => {
    expect(parseCommandLine(['--namespace=n', '-id=x', '-debug=false', 'start'])).toMatchObject({
      namespace: 'n',
      id: 'x',
      debug: false,
      action: 'start',
    });
  });

  it.each([
    [['-v'], 'version'],
    [['-info'], 'info'],
  ] as const)('%s needs no action', (args, action) => {
    expect(parseCommandLine(args).action).toBe(action);
  });

  it.each([
    [['-namespace', 'n', '-id', 'x'], 'the action must be start or delete'],
    [['-namespace', 'n', '-id', 'x', 'restart'], '"restart"'],
    [['-id', 'x', 'start'], 'namespace cannot be empty'],
    [['-namespace', 'n', 'start'], 'id cannot be empty'],
    [['-colour', 'blue', 'start'], 'not defined: -colour'],
    [['-id'], 'needs an argument: -id'],
  ])('refuses %j', (args, message) => {
    expect(() => parseCommandLine(args)).toThrow(message);
  });
});
