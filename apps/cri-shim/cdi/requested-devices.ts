import { BerthError } from '#common/errors.ts';
import type { ContainerConfig } from '../cri-types.ts';
import { isQualifiedName } from './device-name.ts';

/** Keys of the annotations by which device plugins ask, before the kubelet had a field for it. */
const annotationPrefix = 'cdi.k8s.io/';

/**
 * The CDI devices that a container asks for, each once: first those of the field, then those of its annotations.
 *
 * @throws invalid_argument for an annotation that names no devices
 */
export function requestedCdiDevices(config: Pick<ContainerConfig, 'CDIDevices' | 'annotations'>): string[] {
  const names = config.CDIDevices.map(({ name }) => name);
  for (const [key, value] of Object.entries(config.annotations).sort()) {
    if (!key.startsWith(annotationPrefix)) continue;
    for (const name of value.split(',')) {
      if (!isQualifiedName(name)) {
        throw new BerthError(
          'invalid_argument',
          `annotation ${key}: ${JSON.stringify(name)} is not a CDI device of the form vendor/class=name`,
        );
      }
      names.push(name);
    }
  }
  return [...new Set(names)];
}
