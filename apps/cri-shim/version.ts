import { version } from '#common/version.ts';
import type { VersionResponse } from '#proto/runtime/v1/VersionResponse.ts';

/** Version of the kubelet's runtime API as such, unchanged for ever. */
const kubeletApiVersion = '0.1.0';

/** Version. */
export function runtimeVersion(): VersionResponse {
  return { version: kubeletApiVersion, runtimeName: 'berth', runtimeVersion: version, runtimeApiVersion: 'v1' };
}
