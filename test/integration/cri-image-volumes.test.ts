import { beforeAll, describe, expect, it } from 'vitest';
import { busybox, useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';

const suite = useCri();
let clean: LeakSnapshot;

beforeAll(async () => {
  clean = await suite.clean();
});

const volume = (fields: object = {}) => ({
  containerPath: '/volume',
  readonly: true,
  image: { image: busybox },
  ...fields,
});

describe('an image as a volume', () => {
  it('is read-only, runs programs, tells its digest and leaves nothing', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const script = [
      '/volume/bin/busybox echo run; touch /volume/x 2>/dev/null || echo read-only',
      'ls /bin-of-image | grep -x busybox; cat /one-file > /dev/null && echo file',
    ].join('; ');
    const mounts = [
      volume(),
      volume({ containerPath: '/bin-of-image', imageSubPath: 'bin' }),
      volume({ containerPath: '/one-file', imageSubPath: 'bin/busybox' }),
    ];
    const container = await suite.start(id, pod, suite.containerConfig('volumes', script, { mounts }));
    const status = await suite.exited(container);
    expect(suite.log(pod, 'volumes')).toEqual(['run', 'read-only', 'busybox', 'file']);
    const image = (await suite.cri.image.imageStatus({ image: { image: busybox } })).image;
    expect(status.mounts[0]).toMatchObject({ hostPath: '', image: { image: busybox, imageRef: image?.id } });
    expect(status.mounts[1]).toMatchObject({ imageSubPath: 'bin' });
    await suite.cri.runtime.removeContainer({ containerId: container });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('is refused when it would be writable, isn’t there, or its sub path leads nowhere (CVE-2022-23648)', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    for (const [fields, code, word] of [
      [{ readonly: false }, 'invalid_argument', 'must be readonly'],
      [{ hostPath: '/etc' }, 'invalid_argument', 'exclude each other'],
      [{ image: { image: 'example.com/nothing:1' } }, 'not_found', 'example.com/nothing:1'],
      [{ imageSubPath: 'no/such' }, 'invalid_argument', "doesn't exist"],
      [{ imageSubPath: '../../etc' }, 'invalid_argument', 'relative path'],
      [{ imageSubPath: '/etc' }, 'invalid_argument', 'relative path'],
    ] as const) {
      const config = suite.containerConfig('refused', 'true', { mounts: [volume(fields)] });
      await expect(suite.create(id, pod, config)).rejects.toMatchObject({
        code,
        message: expect.stringContaining(word),
      });
    }
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});
