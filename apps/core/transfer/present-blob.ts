import { isCode } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import type { LeaseStore } from '../leases/store.ts';

/** Whether the blob is in the store; then it is in the lease. */
export function isPresent(
  { content, leases }: { readonly content: ContentStore; readonly leases: LeaseStore },
  { ns, digest, lease }: { readonly ns: string; readonly digest: string; readonly lease: string },
): boolean {
  try {
    content.info(ns, digest);
  } catch (error) {
    if (isCode(error, 'not_found')) return false;
    throw error;
  }
  leases.addResource(ns, lease, { type: 'content', id: digest });
  return true;
}
