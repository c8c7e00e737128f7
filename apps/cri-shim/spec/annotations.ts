import type { PodConfig } from '../cri-types.ts';

const prefix = 'io.kubernetes.cri';

interface Described {
  readonly sandboxId: string;
  readonly config: PodConfig;
}

/** Annotations that shims and tools read from a pod sandbox's spec. */
export function sandboxAnnotations({ sandboxId, config }: Described, image: string): Record<string, string> {
  const resources = config.linux?.resources;
  return {
    ...common(sandboxId, config),
    [`${prefix}.container-type`]: 'sandbox',
    [`${prefix}.sandbox-log-directory`]: config.logDirectory,
    [`${prefix}.podsandbox.image-name`]: image,
    ...(resources == null
      ? {}
      : {
          [`${prefix}.sandbox-cpu-period`]: resources.cpuPeriod,
          [`${prefix}.sandbox-cpu-quota`]: resources.cpuQuota,
          [`${prefix}.sandbox-cpu-shares`]: resources.cpuShares,
          [`${prefix}.sandbox-memory`]: resources.memoryLimitInBytes,
        }),
  };
}

/** The same for a container. */
export function containerAnnotations(
  { sandboxId, config }: Described,
  name: string,
  image: string,
): Record<string, string> {
  return {
    ...common(sandboxId, config),
    [`${prefix}.container-type`]: 'container',
    [`${prefix}.container-name`]: name,
    [`${prefix}.image-name`]: image,
  };
}

function common(sandboxId: string, config: PodConfig): Record<string, string> {
  return {
    [`${prefix}.sandbox-id`]: sandboxId,
    [`${prefix}.sandbox-namespace`]: config.metadata?.namespace ?? '',
    [`${prefix}.sandbox-uid`]: config.metadata?.uid ?? '',
    [`${prefix}.sandbox-name`]: config.metadata?.name ?? '',
  };
}
