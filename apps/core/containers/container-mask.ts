import { BerthError } from '#common/errors.ts';
import { mapKeyOf } from '../metadata/labels.ts';
import type { TypedBytes } from '../metadata/typed-bytes.ts';
import type { Container, ContainerInput } from './store.ts';

/** What an update without a mask replaces. */
const mutable = ['labels', 'spec', 'extensions', 'image', 'snapshotkey'] as const;

/**
 * `current` with the fields of `input` that the mask names.
 * @throws invalid_argument for an unknown path, or an update without a mask that differs in an immutable field.
 */
export function maskedContainer(
  current: Container,
  input: ContainerInput,
  fieldpaths: readonly string[] | undefined,
): ContainerInput {
  if (!fieldpaths?.length) {
    if (current.snapshotter !== input.snapshotter) throw immutable(current.id, 'snapshotter');
    if (current.runtime.name !== input.runtime.name) throw immutable(current.id, 'runtime name');
  }
  let updated: ContainerInput = current;
  for (const path of fieldpaths?.length ? fieldpaths : mutable) updated = withPath(updated, input, path);
  return updated;
}

function withPath(current: ContainerInput, input: ContainerInput, path: string): ContainerInput {
  const label = mapKeyOf(path, 'labels');
  if (label !== undefined)
    return {
      ...current,
      labels: { ...current.labels, [label]: input.labels[label] ?? '' },
    };
  const extension = mapKeyOf(path, 'extensions');
  if (extension !== undefined)
    return {
      ...current,
      extensions: withExtension(current, extension, input.extensions[extension]),
    };
  switch (path) {
    case 'labels':
      return { ...current, labels: input.labels };
    case 'spec':
      return { ...current, spec: input.spec };
    case 'extensions':
      return { ...current, extensions: input.extensions };
    case 'image':
      return { ...current, image: input.image };
    case 'snapshotkey':
      return { ...current, snapshotKey: input.snapshotKey };
    default:
      throw new BerthError('invalid_argument', `cannot update field "${path}" of container "${current.id}"`);
  }
}

function withExtension({ extensions }: ContainerInput, name: string, value: TypedBytes | undefined) {
  const { [name]: _, ...others } = extensions;
  return value ? { ...others, [name]: value } : others;
}

function immutable(id: string, field: string): BerthError {
  return new BerthError('invalid_argument', `container "${id}": its ${field} is immutable`);
}
