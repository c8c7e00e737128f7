import type { SpecMount } from '#common/oci/runtime-spec.ts';

/** Mounts in an order in which each comes after those that it lies in. */
export function parentsFirst(mounts: readonly SpecMount[]): SpecMount[] {
  const depth = ({ destination }: SpecMount) => destination.split('/').filter((part) => part !== '').length;
  return mounts.toSorted((a, b) => depth(a) - depth(b));
}
