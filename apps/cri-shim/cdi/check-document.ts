import * as v from 'valibot';
import { BerthError } from '#common/errors.ts';
import { requiredVersion } from './required-version.ts';
import { type ContainerEdits, type SpecDocument, specDocument } from './spec-document.ts';
import { versions } from './versions.ts';

/**
 * Checks what a specification file holds. As the reference does, it refuses unknown fields and those that the file's
 * version doesn't have.
 *
 * @throws invalid_argument naming the field
 */
export function checkDocument(value: unknown): SpecDocument {
  const { success, output, issues } = v.safeParse(specDocument, value, { abortEarly: true });
  if (!success) {
    const [issue] = issues;
    throw new BerthError('invalid_argument', `${v.getDotPath(issue) ?? 'the document'}: ${issue.message}`);
  }
  const needed = requiredVersion(output);
  if (versions.indexOf(output.cdiVersion) < versions.indexOf(needed)) {
    throw new BerthError('invalid_argument', `cdiVersion: must be at least ${needed} for what the file uses`);
  }
  const names = new Set<string>();
  for (const { name, containerEdits } of output.devices) {
    if (names.has(name)) throw new BerthError('invalid_argument', `devices: "${name}" is there twice`);
    names.add(name);
    if (isEmpty(containerEdits)) throw new BerthError('invalid_argument', `devices: "${name}" changes nothing`);
  }
  return output;
}

function isEmpty({ intelRdt, ...lists }: ContainerEdits): boolean {
  return intelRdt == null && Object.values(lists).every(({ length }) => length === 0);
}
