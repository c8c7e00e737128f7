import { BerthError, isCode } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { Namespace__Output } from '#proto/containerd/services/namespaces/v1/Namespace.ts';
import type { NamespacesHandlers } from '#proto/containerd/services/namespaces/v1/Namespaces.ts';
import type { Namespace, NamespaceStore } from './store.ts';

/** `containerd.services.namespaces.v1.Namespaces`. */
export function namespacesService(store: NamespaceStore, log: Logger): Service {
  return implement<NamespacesHandlers>(
    serviceDefinition('containerd.services.namespaces.v1.Namespaces'),
    {
      get({ name }) {
        return { namespace: getOrEmpty(store, name) };
      },
      list() {
        return { namespaces: store.list() };
      },
      create(request) {
        const { name, labels } = required(request.namespace);
        return { namespace: store.create(name, labels) };
      },
      update(request) {
        const { name, labels } = required(request.namespace);
        return { namespace: store.update(name, labels, request.updateMask?.paths) };
      },
      delete({ name }) {
        store.delete(name);
        return {};
      },
    },
    { log },
  );
}

/** containerd's client asks for the labels of a namespace before the first write makes it: that is no error. */
function getOrEmpty(store: NamespaceStore, name: string): Namespace {
  try {
    return store.get(name);
  } catch (error) {
    if (isCode(error, 'not_found')) return { name, labels: {} };
    throw error;
  }
}

function required(namespace: Namespace__Output | null): Namespace__Output {
  if (!namespace) throw new BerthError('invalid_argument', 'namespace is missing from the request');
  return namespace;
}
