import { describe, expect, it } from 'vitest';
import { parseOptions } from '#common/mount.ts';
import { MS } from '#common/native/index.ts';

describe('options of a rootfs mount', () => {
  it('become flags, propagation and data', () => {
    expect(parseOptions('overlay', ['ro', 'nosuid', 'rprivate', 'index=off', 'lowerdir=/a:/b'])).toEqual({
      flags: MS.RDONLY | MS.NOSUID,
      propagation: MS.PRIVATE | MS.REC,
      data: 'index=off,lowerdir=/a:/b',
      cwd: null,
    });
  });

  it('later ones take earlier ones back', () => {
    expect(parseOptions('bind', ['rbind', 'ro', 'rw']).flags).toBe(MS.BIND | MS.REC);
  });

  it('many layers become paths relative to their common folder', () => {
    const layers = Array.from({ length: 100 }, (_, n) => `/var/lib/berth/snapshots/overlayfs/snapshots/${n}/fs`);
    const call = parseOptions('overlay', [
      'workdir=/var/lib/berth/snapshots/overlayfs/snapshots/100/work',
      'upperdir=/var/lib/berth/snapshots/overlayfs/snapshots/100/fs',
      `lowerdir=${layers.join(':')}`,
    ]);
    expect(call.cwd).toBe('/var/lib/berth/snapshots/overlayfs/snapshots');
    expect(call.data).toContain('upperdir=/var/lib/berth');
    expect(call.data).toContain('lowerdir=0/fs:1/fs:2/fs');
    expect(call.data.length).toBeLessThan(4096);
  });

  it('too many layers for any form are refused', () => {
    const layers = Array.from({ length: 1000 }, (_, n) => `/var/lib/berth/${n}/fs`);
    expect(() => parseOptions('overlay', [`lowerdir=${layers.join(':')}`])).toThrow('1000 layers');
  });
});
