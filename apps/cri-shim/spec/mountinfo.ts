import { readFileSync } from 'node:fs';

/** One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as propagation needs it. */
export interface MountInfo {
  readonly mountpoint: string;
  /** `shared:N`, `master:N` and the like. */
  readonly optional: readonly string[];
}

export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ');
      const end = fields.indexOf('-', 6);
      return { mountpoint: unescapeOctal(fields[4] ?? ''), optional: fields.slice(6, end) };
    });
}

/** The mounts that this process sees. */
export function readMountInfo(): MountInfo[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** The mount that `path` (absolute, links resolved) lies on: the last of those with the longest mount point. */
export function mountOf(path: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  let found: MountInfo | undefined;
  for (const mount of mounts) {
    const { mountpoint } = mount;
    const covers = mountpoint === '/' || path === mountpoint || path.startsWith(`${mountpoint}/`);
    if (covers && mountpoint.length >= (found?.mountpoint.length ?? 0)) found = mount;
  }
  return found;
}

function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
