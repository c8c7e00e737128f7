import { BerthError } from '#common/errors.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { RuntimeFeatures } from '../runtime-features.ts';

/**
 * Checks a finished spec for what an OCI runtime that doesn't know it would leave out in silence.
 *
 * @throws failed_precondition
 */
export function checkRuntimeSupport({ linux }: RuntimeSpec, { networkDevices }: RuntimeFeatures): void {
  const [device] = Object.keys(linux?.netDevices ?? {});
  if (device === undefined || networkDevices) return;
  throw new BerthError(
    'failed_precondition',
    `network device "${device}" is to move into the container, but the runtime handler's OCI runtime can't do that: ` +
      'runc can from 1.4 on',
  );
}
