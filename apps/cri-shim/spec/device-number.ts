/** Of a dev_t as stat(2) gives it: glibc's layout, gnu_dev_major(3). The low 32 bits hold all that Linux uses. */
export function majorOf(device: number): number {
  return (device >>> 8) & 0xfff;
}

/** See {@link majorOf}. */
export function minorOf(device: number): number {
  return (device & 0xff) | ((device >>> 12) & 0xfff00);
}
