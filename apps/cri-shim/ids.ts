import { randomBytes } from 'node:crypto';

/** A new pod or container id: 64 hexadecimal digits, as every tool around the CRI expects. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}
