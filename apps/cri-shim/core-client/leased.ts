import { randomUUID } from 'node:crypto';
import type { CallOptions, Client } from '#common/grpc/client.ts';
import type { LeasesDefinition, LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';

/** A lease that a killed process leaves behind ends by itself. */
const leaseMs = 60 * 60 * 1000;

/** Does work whose calls keep what they make from the collector, by a lease that ends with it. */
export async function leased(
  leases: Client<LeasesHandlers, LeasesDefinition>,
  purpose: string,
  work: (call: CallOptions) => Promise<void>,
): Promise<void> {
  const expire = new Date(Date.now() + leaseMs).toISOString();
  const { lease } = await leases.create({
    id: `${purpose}-${randomUUID()}`,
    labels: { 'containerd.io/gc.expire': expire },
  });
  try {
    await work({ lease: lease?.id });
  } finally {
    if (lease !== null) await leases.delete({ id: lease.id });
  }
}
