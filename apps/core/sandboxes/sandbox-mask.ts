import { BerthError } from '#common/errors.ts';
import { mapKeyOf } from '../metadata/labels.ts';
import type { TypedBytes } from '../metadata/typed-bytes.ts';
import type { Sandbox, SandboxInput } from './store.ts';

/** What an update without a mask replaces. */
const mutable = ['labels', 'extensions', 'spec', 'runtime'] as const;

/**
 * `current` with the fields of `input` that the mask names.
 * @throws invalid_argument for an unknown path, or an update without a mask that names another runtime.
 */
export function maskedSandbox(
  current: Sandbox,
  input: SandboxInput,
  fieldpaths: readonly string[] | undefined,
): SandboxInput {
  if (!fieldpaths?.length && current.runtime.name !== input.runtime.name) {
    throw new BerthError('invalid_argument', `sandbox "${current.id}": its runtime name is immutable`);
  }
  let updated: SandboxInput = current;
  for (const path of fieldpaths?.length ? fieldpaths : mutable) updated = withPath(updated, input, path);
  return updated;
}

function withPath(current: SandboxInput, input: SandboxInput, path: string): SandboxInput {
  const label = mapKeyOf(path, 'labels');
  if (label !== undefined) return { ...current, labels: { ...current.labels, [label]: input.labels[label] ?? '' } };
  const extension = mapKeyOf(path, 'extensions');
  if (extension !== undefined) {
    return { ...current, extensions: withExtension(current, extension, input.extensions[extension]) };
  }
  switch (path) {
    case 'labels':
      return { ...current, labels: input.labels };
    case 'extensions':
      return { ...current, extensions: input.extensions };
    case 'spec':
      return { ...current, spec: input.spec };
    case 'runtime':
      return { ...current, runtime: input.runtime };
    default:
      throw new BerthError('invalid_argument', `cannot update field "${path}" of sandbox "${current.id}"`);
  }
}

function withExtension({ extensions }: SandboxInput, name: string, value: TypedBytes | undefined) {
  const { [name]: _, ...others } = extensions;
  return value ? { ...others, [name]: value } : others;
}
