/**
 * Containers that may share a shim, as containerd's shim for runc groups them: by the first of these annotations that a
 * container's OCI spec has.
 */
const groupAnnotations = ['io.containerd.runc.v2.group', 'io.kubernetes.cri.sandbox-id'] as const;

/** Told to a shim's `start` with the value 1: containers of one group get one shim. Otherwise each has its own. */
export const shareVariable = 'BERTH_SHIM_SHARE';

/** The id under which a container's shim is found: its group's, else its own. `spec` is the OCI spec as JSON. */
export function shimGroupOf(id: string, spec: string): string {
  if (!groupAnnotations.some((name) => spec.includes(name))) return id;
  const { annotations } = JSON.parse(spec) as { annotations?: Readonly<Record<string, string>> };
  for (const name of groupAnnotations) {
    const group = annotations?.[name];
    if (group !== undefined && group !== '') return group;
  }
  return id;
}
