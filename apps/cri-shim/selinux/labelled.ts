import type { SnapshotMounts } from '../core-client/types.ts';

/** The mount option by which SELinux takes all files of a mount to have a label (mount(8), "context="). */
export function contextOption(label: string): string {
  // The quotes keep the commas of a level from ending the option.
  return `context="${label}"`;
}

/**
 * A root file system whose files all have the label. Only one of its own can have it: a bind mount shows the labels of
 * what it binds.
 */
export function labelled(mounts: SnapshotMounts, label: string): SnapshotMounts {
  return mounts.map((mount) => {
    return mount.type === 'overlay' ? { ...mount, options: [...mount.options, contextOption(label)] } : mount;
  });
}
