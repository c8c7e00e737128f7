import { describe, expect, it } from 'vitest';
import { confineLogPath } from '../../../apps/cri-shim/logs/log-path.ts';
import { sandboxAnnotations } from '../../../apps/cri-shim/spec/annotations.ts';
import { capabilityNames, containerCapabilities } from '../../../apps/cri-shim/spec/capabilities.ts';
import { imageProcess } from '../../../apps/cri-shim/spec/image-process.ts';
import { environment } from '../../../apps/cri-shim/spec/process.ts';
import { checkSysctls } from '../../../apps/cri-shim/spec/sysctls.ts';
import { parseUser, processUser } from '../../../apps/cri-shim/spec/user.ts';

const noFiles = { read: async () => undefined };
const refused = expect.objectContaining({ code: 'invalid_argument' });

describe('what other runtimes had to learn', () => {
  it.each(['2147483648', '4294967296', '4294967296:0', '0:4294967296', '-1', '+1000000000000', 'a:b:c'])(
    'CVE-2024-40635, CVE-2026-46680: USER %j of an image is an error, never root',
    (user) => expect(() => parseUser(user)).toThrow(refused),
  );

  it('CVE-2025-4437, CVE-2026-47262: account files of an image are read up to a bound', async () => {
    const limits: number[] = [];
    const files = {
      read: async (_: string, limit: number) => {
        limits.push(limit);
        return undefined;
      },
    };
    await processUser(null, '0', files);
    expect(limits.length).toBeGreaterThan(0);
    for (const limit of limits) expect(limit).toBeLessThanOrEqual(1 << 20);
  });

  it('CVE-2022-24769: no capability is inheritable', () => {
    for (const privileged of [false, true]) {
      const request = { add: ['ALL'], drop: [], privileged, available: capabilityNames };
      const sets = containerCapabilities(request);
      expect(sets.bounding.length).toBeGreaterThan(0);
      expect(sets).not.toHaveProperty('inheritable');
      expect(sets).not.toHaveProperty('ambient');
    }
  });

  it('CVE-2023-25173: the primary group is among the supplementary ones', async () => {
    expect((await processUser(null, '5:7', noFiles)).additionalGids).toContain(7);
  });

  it('CVE-2021-21334: containers of one image share no environment', () => {
    const image = imageProcess({ config: { Env: ['SHARED=image'] } });
    const first = environment('h', image, [{ key: 'SECRET', value: 'one' }]);
    first.push('LEAK=1');
    expect(environment('h', image, [])).not.toEqual(expect.arrayContaining(['SECRET=one']));
    expect(image.env).toEqual(['SHARED=image']);
  });

  it.each<Record<string, string>>([
    { 'kernel.core_pattern': '|/evil' },
    { 'kernel.shm_rmid_forced': '1+kernel.core_pattern=|/evil' },
    { 'net.ipv4.ip_forward': '1\nkernel.core_pattern=|/evil' },
    { 'net/../kernel/core_pattern': '|/evil' },
  ])('CVE-2022-0811: sysctl %j reaches nothing of the host', (sysctls) => {
    expect(() => checkSysctls(sysctls, { hostNetwork: false, hostIpc: false })).toThrow(refused);
  });

  it('CVE-2022-0532: a sysctl of a namespace that the pod shares with the host is refused', () => {
    const net = { 'net.ipv4.ip_forward': '1' };
    expect(() => checkSysctls(net, { hostNetwork: true, hostIpc: false })).toThrow(refused);
    const ipc = { 'kernel.msgmax': '1' };
    expect(() => checkSysctls(ipc, { hostNetwork: false, hostIpc: true })).toThrow(refused);
  });

  it('CVE-2024-3154, CVE-2026-53488: neither annotations nor labels of a pod reach the OCI runtime', () => {
    const evil = { 'org.systemd.property.ExecStartPre': "['/evil']", 'run.oci.keep_original_groups': '1' };
    const config = {
      metadata: { name: 'p', uid: 'u', namespace: 'ns', attempt: 0 },
      annotations: evil,
      labels: evil,
      logDirectory: '/logs',
      linux: null,
    } as unknown as Parameters<typeof sandboxAnnotations>[0]['config'];
    for (const key of Object.keys(sandboxAnnotations({ sandboxId: 's', config }, 'img'))) {
      expect(key).toMatch(/^io\.kubernetes\.cri\./);
    }
  });

  it.each(['../../etc/cron.d/x', 'a/../../x'])('CVE-2025-0750: log path %j stays below the pod’s', (path) => {
    expect(() => confineLogPath('/var/log/pods/p', path)).toThrow(refused);
  });
});
