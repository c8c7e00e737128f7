import { randomBytes } from 'node:crypto';
import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';
import type { Resource__Output } from '#proto/containerd/services/leases/v1/Resource.ts';
import type { Lease, LeaseResource, LeaseStore } from './store.ts';

export interface LeasesServiceParts {
  readonly leases: LeaseStore;
  /** Collects garbage now, for a delete that asks to wait for it. */
  readonly collect: () => Promise<unknown>;
  readonly log: Logger;
}

/** `containerd.services.leases.v1.Leases`. */
export function leasesService({ leases, collect, log }: LeasesServiceParts): Service {
  return implement<LeasesHandlers>(
    serviceDefinition('containerd.services.leases.v1.Leases'),
    {
      create({ id, labels }, { namespace }) {
        return { lease: toWire(leases.create(namespace, id || randomBytes(16).toString('hex'), labels)) };
      },
      async delete({ id, sync }, { namespace }) {
        leases.delete(namespace, id);
        if (sync) await collect();
        return {};
      },
      list({ filters }, { namespace }) {
        return { leases: leases.list(namespace, filters).map(toWire) };
      },
      addResource({ id, resource }, { namespace }) {
        leases.addResource(namespace, id, required(resource));
        return {};
      },
      deleteResource({ id, resource }, { namespace }) {
        leases.deleteResource(namespace, id, required(resource));
        return {};
      },
      listResources({ id }, { namespace }) {
        return { resources: leases.resources(namespace, id) };
      },
    },
    { log },
  );
}

function toWire({ id, createdAt, labels }: Lease) {
  return { id, createdAt: timestampFromInstant(createdAt), labels };
}

function required(resource: Resource__Output | null): LeaseResource {
  if (!resource) throw new BerthError('invalid_argument', 'resource is missing from the request');
  return resource;
}
