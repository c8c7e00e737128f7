import { readFile } from 'node:fs/promises';
import { isIPv4, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { writeAtomic } from '#common/atomic-file.ts';
import { BerthError } from '#common/errors.ts';
import { makeDirectories } from '#common/make-directories.ts';
import type { UpdateRuntimeConfigRequest__Output } from '#proto/runtime/v1/UpdateRuntimeConfigRequest.ts';
import { renderTemplate } from './cni/config-template.ts';
import { parseNetworkList } from './cni/network-list.ts';
import type { Runtime } from './runtime.ts';

/** The file's name is containerd's: whoever provides a configuration of their own knows to sort before it. */
const fileName = '10-containerd-net.conflist';

/**
 * UpdateRuntimeConfig: the kubelet tells the node's pod addresses. With a template of a CNI configuration
 * (`cni.conf_template`) that makes the pod network, unless there is one already.
 */
export async function updateRuntimeConfig(rt: Runtime, request: UpdateRuntimeConfigRequest__Output): Promise<void> {
  const ranges = (request.runtimeConfig?.networkConfig?.podCidr ?? '').split(',').map((range) => range.trim());
  const { confTemplate, confDir } = rt.config.cni;
  if (ranges.join('') === '' || confTemplate === '') return;
  for (const range of ranges) checkRange(range);
  if ((await rt.network.unready()) === undefined) return;
  const template = await readFile(confTemplate, 'utf8').catch((error: unknown) => {
    throw BerthError.from(error, 'read cni.conf_template');
  });
  const routes = [
    ...(ranges.some((range) => !range.includes(':')) ? ['0.0.0.0/0'] : []),
    ...(ranges.some((range) => range.includes(':')) ? ['::/0'] : []),
  ];
  const text = renderTemplate(template, { PodCIDR: ranges[0] ?? '', PodCIDRRanges: ranges, Routes: routes });
  parseNetworkList(text, `made of ${confTemplate}`);
  makeDirectories(confDir, 0o755);
  const path = join(confDir, fileName);
  await writeAtomic(path, text, { mode: 0o644 });
  rt.log.info({ path, ranges }, 'CNI configuration written');
}

function checkRange(range: string): void {
  const [address = '', bits = '', ...rest] = range.split('/');
  const most = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
  if (rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= most) return;
  throw new BerthError(
    'invalid_argument',
    `runtime_config.network_config.pod_cidr: ${JSON.stringify(range)} is no range`,
  );
}
