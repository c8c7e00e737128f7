import { fileURLToPath } from 'node:url';

/** Folder that the imports in .proto files start from. */
export const protoRoot = fileURLToPath(new URL('../../../proto/', import.meta.url));

/**
 * How messages look in JavaScript: camelCase fields, 64-bit numbers as decimal strings, enums as names, an absent
 * message as null. The generated types hold only for exactly these options.
 */
export const protoOptions = {
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
} as const;
