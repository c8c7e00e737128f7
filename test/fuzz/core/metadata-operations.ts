/** Calls that only change records: namespaces, containers, images, leases. */
import type { Container } from '#proto/containerd/services/containers/v1/Container.ts';
import type { Image } from '#proto/containerd/services/images/v1/Image.ts';
import type { Resource } from '#proto/containerd/services/leases/v1/Resource.ts';
import type { Random } from '../../support/random.ts';
import { digest, filters, id, keep, labels, leaseId, mask, namespace, shortLabels, spec } from './inputs.ts';
import { type Operations, operation } from './operation.ts';

const namespaceOperations: Operations = {
  'namespaces.create': operation(
    2,
    (random) => ({ name: namespace(random), labels: labels(random) }),
    (side, { name, labels }) => side.clients.namespaces.create({ namespace: { name: side.namespace(name), labels } }),
  ),
  'namespaces.get': operation(
    3,
    (random) => ({ name: namespace(random) }),
    (side, { name }) => side.clients.namespaces.get({ name: side.namespace(name) }),
  ),
  'namespaces.list': operation(
    2,
    () => ({}),
    async (side) => {
      const { namespaces } = await side.clients.namespaces.list({});
      return namespaces.filter(({ name }) => side.owns(name)).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
  ),
  'namespaces.update': operation(
    3,
    (random) => ({ name: namespace(random), labels: labels(random), updateMask: mask(random) }),
    (side, { name, labels, updateMask }) =>
      side.clients.namespaces.update({ namespace: { name: side.namespace(name), labels }, updateMask }),
  ),
  'namespaces.delete': operation(
    2,
    (random) => ({ name: random.mostly(['unknown'], ['', 'a/b', 'none'], 0.2) }),
    (side, { name }) => side.clients.namespaces.delete({ name: side.namespace(name) }),
  ),
};

function containerOf(random: Random): Container {
  const options = { type_url: 'containerd.runc.v1.Options', value: Buffer.from([8, 1]) };
  return {
    id: id(random),
    labels: labels(random),
    image: random.pick(['', 'busybox', 'i1']),
    runtime: random.mostly(
      [
        { name: 'io.containerd.runc.v2', options: null },
        { name: 'io.containerd.runc.v2', options },
      ],
      [null, { name: '', options: null }, { name: 'other', options: null }],
      0.1,
    ),
    spec: random.mostly([spec], [null, { type_url: '', value: Buffer.alloc(0) }], 0.06),
    snapshotter: random.mostly(['', 'overlayfs'], ['nonsense'], 0.05),
    snapshotKey: random.pick(['', '', 'k1']),
    extensions: extensionsOf(...random.mostly([[], ['e'], ['e', 'f.g']], [['']], 0.05)),
  };
}

function extensionsOf(...names: readonly string[]): Record<string, { type_url: string; value: Buffer }> {
  return Object.fromEntries(names.map((name) => [name, { type_url: 'some/type', value: Buffer.from('{}') }]));
}

const containerFilters = ['id==c1', 'id~=c[12]', 'image==busybox', 'image', 'runtime.name==other', 'runtime', 'Id==c1'];

const containerOperations: Operations = {
  'containers.create': operation(
    8,
    (random) => ({ ns: namespace(random), container: containerOf(random) }),
    (side, { container, ...scope }) => side.clients.containers.create({ container }, side.options(scope)),
  ),
  'containers.get': operation(
    4,
    (random) => ({ ns: namespace(random), id: id(random) }),
    (side, { id, ...scope }) => side.clients.containers.get({ id }, side.options(scope)),
  ),
  'containers.list': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, ...containerFilters) }),
    (side, { filters, ...scope }) => side.clients.containers.list({ filters }, side.options(scope)),
  ),
  'containers.listStream': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, ...containerFilters) }),
    (side, { filters, ...scope }) => side.items(side.clients.containers.listStream({ filters }, side.options(scope))),
  ),
  'containers.update': operation(
    8,
    (random) => ({
      ns: namespace(random),
      // Those of containerd stay when an update lacks them, though its answer says otherwise.
      container: { ...containerOf(random), extensions: extensionsOf('e', 'f.g') },
      updateMask: mask(
        random,
        'image',
        'spec',
        'snapshotkey',
        'extensions',
        'extensions.e',
        'extensions.f.g',
        'runtime',
      ),
    }),
    (side, { container, updateMask, ...scope }) =>
      side.clients.containers.update({ container, updateMask }, side.options(scope)),
  ),
  'containers.delete': operation(
    4,
    (random) => ({ ns: namespace(random), id: id(random) }),
    (side, { id, ...scope }) => side.clients.containers.delete({ id }, side.options(scope)),
  ),
};

function imageName(random: Random): string {
  return random.mostly(['i1', 'i2', 'docker.io/library/busybox:latest'], ['', 'a b', 'x'.repeat(300), 'ä'], 0.06);
}

function imageOf(random: Random): Image {
  const annotations = random.mostly<Record<string, string>>([{}], [{ a: '1' }, { a: '' }], 0.2);
  const mediaType = random.mostly(['x/y', 'application/vnd.oci.image.manifest.v1+json'], [''], 0.05);
  return {
    name: imageName(random),
    labels: labels(random),
    target: random.mostly(
      [{ mediaType, digest: digest(random), size: random.mostly([1, 4096], [0, -1], 0.05), annotations }],
      [null],
      0.03,
    ),
  };
}

const imageFilters = ['name==i1', 'name~=i[12]', 'target.mediatype==x/y', 'target.digest~=^sha256', 'annotations.a==1'];

const imageOperations: Operations = {
  'images.create': operation(
    7,
    (random) => ({ ns: namespace(random), image: imageOf(random), lease: keep }),
    (side, { image, ...scope }) => side.clients.images.create({ image }, side.options(scope)),
  ),
  'images.get': operation(
    3,
    (random) => ({ ns: namespace(random), name: imageName(random) }),
    (side, { name, ...scope }) => side.clients.images.get({ name }, side.options(scope)),
  ),
  'images.list': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, ...imageFilters) }),
    (side, { filters, ...scope }) => side.clients.images.list({ filters }, side.options(scope)),
  ),
  'images.update': operation(
    7,
    (random) => ({
      ns: namespace(random),
      image: imageOf(random),
      updateMask: mask(random, 'target', 'annotations', 'annotations.a', 'name'),
    }),
    (side, { image, updateMask, ...scope }) => side.clients.images.update({ image, updateMask }, side.options(scope)),
  ),
  'images.delete': operation(
    3,
    (random) => ({ ns: namespace(random), name: imageName(random), sync: random.chance(0.3) }),
    (side, { name, sync, ...scope }) => side.clients.images.delete({ name, sync }, side.options(scope)),
  ),
};

const resourceTypes = ['content', 'snapshots/overlayfs', 'ingests'];
const oddResourceTypes = ['', 'snapshots', 'content/x', 'nonsense', 'snapshots/', 'snapshots/a/b', 'ingests/x'];

function resourceOf(random: Random): Resource {
  const id = random.mostly([digest(random), 'k1', 'r1'], [''], 0.1);
  return { type: random.mostly(resourceTypes, oddResourceTypes, 0.2), id };
}

const leaseOperations: Operations = {
  'leases.create': operation(
    4,
    // containerd takes labels of any length here, and only here.
    (random) => ({ ns: namespace(random), id: leaseId(random) || 'l3', labels: shortLabels(random) }),
    (side, { id, labels, ...scope }) => side.clients.leases.create({ id, labels }, side.options(scope)),
  ),
  'leases.list': operation(
    3,
    (random) => ({ ns: namespace(random), filters: filters(random, 'id==l1', 'id~=l') }),
    (side, { filters, ...scope }) => side.clients.leases.list({ filters }, side.options(scope)),
  ),
  'leases.delete': operation(
    2,
    (random) => ({ ns: namespace(random), id: leaseId(random), sync: random.chance(0.3) }),
    (side, { id, sync, ...scope }) => side.clients.leases.delete({ id, sync }, side.options(scope)),
  ),
  'leases.addResource': operation(
    5,
    (random) => ({ ns: namespace(random), id: leaseId(random), resource: resourceOf(random) }),
    (side, { id, resource, ...scope }) => side.clients.leases.addResource({ id, resource }, side.options(scope)),
  ),
  'leases.deleteResource': operation(
    3,
    (random) => ({ ns: namespace(random), id: leaseId(random), resource: resourceOf(random) }),
    (side, { id, resource, ...scope }) => side.clients.leases.deleteResource({ id, resource }, side.options(scope)),
  ),
  'leases.listResources': operation(
    3,
    (random) => ({ ns: namespace(random), id: random.mostly([keep, 'l1', 'l2'], ['missing', ''], 0.1) }),
    async (side, { id, ...scope }) => {
      const { resources } = await side.clients.leases.listResources({ id }, side.options(scope));
      return resources.map(({ type, id }) => `${type} ${id}`).sort();
    },
  ),
};

export const metadataOperations: Operations = {
  ...namespaceOperations,
  ...containerOperations,
  ...imageOperations,
  ...leaseOperations,
};
