import { extname } from 'node:path';
import { parse } from 'yaml';
import { BerthError, messageOf } from '#common/errors.ts';
import { checkDocument } from './check-document.ts';
import type { SpecDocument } from './spec-document.ts';

/**
 * Reads the text of a specification file, JSON or YAML by the file's name.
 *
 * @throws invalid_argument naming the file and what is wrong in it
 */
export function parseSpec(content: string, path: string): SpecDocument {
  try {
    // YAML 1.1, as the reference: there 0660 is octal.
    const value: unknown = extname(path) === '.json' ? JSON.parse(content) : parse(content, { version: '1.1' });
    return checkDocument(value);
  } catch (cause) {
    throw new BerthError('invalid_argument', `${path}: ${messageOf(cause).split('\n')[0]}`, { cause });
  }
}
