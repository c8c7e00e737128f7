/** Linux' encoding of device numbers in 64 bits (gnu_dev_major, gnu_dev_minor), as a stat has them. */
export function deviceNumber({ rdev }: { readonly rdev: bigint }): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn)),
  };
}
