import { describe, expect, it } from 'vitest';
import { parseUser, processUser, type UserRequest } from '../../../apps/cri-shim/spec/user.ts';

const passwd =
  'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/tmp:/bin/sh\n# comment\nbroken\nhuge:x:4294967296:0::/:\n';
const group = 'root:x:0:\nstaff:x:1001:\nextra:x:2000:other,app\nmore:x:3000:app\nnope:x:4000:application\n';

function files(contents: Record<string, string> = { '/etc/passwd': passwd, '/etc/group': group }) {
  return { read: async (path: string) => contents[path] };
}

function request(fields: Partial<UserRequest>): UserRequest {
  return {
    runAsUser: null,
    runAsGroup: null,
    runAsUsername: '',
    supplementalGroups: [],
    supplementalGroupsPolicy: 'Merge',
    ...fields,
  };
}

const invalid = (text: string) =>
  expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(text) });

describe('the user of a container', () => {
  it('is root without anyone’s wish', async () => {
    expect(await processUser(null, '', files({}))).toEqual({ uid: 0, gid: 0, additionalGids: [0] });
  });

  it('is found by name in the image, with primary and supplementary groups', async () => {
    expect(await processUser(null, 'app', files())).toEqual({
      uid: 1000,
      gid: 1001,
      additionalGids: [1001, 2000, 3000],
    });
  });

  it('takes group and memberships from the image for a number, too', async () => {
    const byNumber = await processUser(request({ runAsUser: { value: '1000' } }), 'root', files());
    expect(byNumber).toEqual({ uid: 1000, gid: 1001, additionalGids: [1001, 2000, 3000] });
  });

  it('may be a number that the image doesn’t know', async () => {
    expect(await processUser(null, '4711', files({}))).toEqual({ uid: 4711, gid: 0, additionalGids: [0] });
    expect(await processUser(null, '4711:99', files({}))).toEqual({ uid: 4711, gid: 99, additionalGids: [99] });
  });

  it('has the pod’s groups merged with the image’s, or alone when the policy is strict', async () => {
    const supplementalGroups = ['5000'];
    const merged = request({ runAsUsername: 'app', runAsGroup: { value: '7' }, supplementalGroups });
    expect((await processUser(merged, '', files())).additionalGids).toEqual([7, 2000, 3000, 5000]);
    const strict = { ...merged, supplementalGroupsPolicy: 'Strict' as const };
    expect((await processUser(strict, '', files())).additionalGids).toEqual([7, 5000]);
  });

  it('is refused when a group is given without a user', async () => {
    await expect(processUser(request({ runAsGroup: { value: '7' } }), '', files())).rejects.toEqual(
      invalid('run_as_group'),
    );
  });

  it('is refused when the image doesn’t know the name', async () => {
    await expect(processUser(null, 'ghost', files())).rejects.toEqual(invalid('"ghost"'));
    await expect(processUser(null, 'app:ghosts', files())).rejects.toEqual(invalid('"ghosts"'));
  });

  it('is refused when an id lies outside of what runc takes', async () => {
    await expect(processUser(null, 'huge', files())).rejects.toEqual(invalid('huge'));
    await expect(processUser(request({ runAsUser: { value: '-1' } }), '', files())).rejects.toEqual(
      invalid('out of range'),
    );
    await expect(processUser(request({ supplementalGroups: ['2147483648'] }), '', files())).rejects.toEqual(
      invalid('2147483648'),
    );
  });

  it.each(['2147483648', '-1', '+0', '4294967296', '18446744073709551616', '1:2:3', ':', ':5', 'a b', 'x\n', '1000:'])(
    'refuses the USER %j of an image',
    (text) => {
      expect(() => parseUser(text)).toThrow(invalid('USER'));
    },
  );
});
